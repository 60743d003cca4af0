//! Source packages, by entries of our own: the machine's `deb` entries, read as `deb-src`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// Where Debian and Ubuntu keep their entries.
const ETC: &str = "/etc/apt";

/// Downloads a source package into `dir` and returns its `.dsc` file: the very source that
/// `package` was built from, if the archive still has it, or else the latest. Nothing outside of
/// `dir` is changed, and root is not needed.
///
/// # Errors
///
/// When the machine has no entries, or apt-get finds no such source.
pub(super) fn download_source(source: &str, package: &str, dir: &Path) -> Result<PathBuf> {
    let entries = dir.join("entries");
    for dir in [
        &entries,
        &dir.join("lists/partial"),
        &dir.join("archives/partial"),
    ] {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    write_entries(&entries)?;
    apt_get(dir, &["update"])?;
    let exact = installed_source(package).map(|version| format!("{source}={version}"));
    let download = |source: &str| apt_get(dir, &["source", "--download-only", source]);
    if exact.is_none_or(|exact| download(&exact).is_err()) {
        download(source)?;
    }
    find(dir, "dsc")
}

/// All of the machine's entries. Third parties that publish no sources only cost a warning.
fn write_entries(to: &Path) -> Result<()> {
    let parts = Path::new(ETC).join("sources.list.d");
    let mut files = vec![Path::new(ETC).join("sources.list")];
    for entry in fs::read_dir(&parts).into_iter().flatten() {
        files.push(entry?.path());
    }
    let mut written = 0;
    for file in files.iter().filter(|file| file.is_file()) {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.file_name().context("a file has a name")?;
        let sources = match file.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => stanzas(&text),
            Some("list") => lines(&text),
            _ => continue,
        };
        fs::write(to.join(name), sources)?;
        written += 1;
    }
    if written == 0 {
        bail!("there are no package sources in {ETC}; is this Debian or Ubuntu?");
    }
    Ok(())
}

/// The format of `.sources` files.
fn stanzas(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix("Types:") {
        Some(_) => "Types: deb-src\n".to_owned(),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// The format of `.list` files.
fn lines(text: &str) -> String {
    let entries = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("deb"));
    entries
        .filter(|rest| rest.starts_with([' ', '\t']))
        .map(|rest| format!("deb-src{rest}\n"))
        .collect()
}

/// The version of the source of an installed package.
fn installed_source(package: &str) -> Option<String> {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${source:Version}", package])
        .output()
        .ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !version.is_empty()).then_some(version)
}

fn apt_get(dir: &Path, args: &[&str]) -> Result<()> {
    let own = |name: &str, path: &str| format!("{name}={}", dir.join(path).display());
    let output = Command::new("apt-get")
        .args(["-q", "-o", "Dir::Etc::SourceList=/dev/null", "-o"])
        .arg(own("Dir::Etc::SourceParts", "entries"))
        .arg("-o")
        .arg(own("Dir::State::Lists", "lists"))
        .arg("-o")
        .arg(own("Dir::Cache", "."))
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .context("cannot run apt-get; is this Debian or Ubuntu?")?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("apt-get {} failed: {}", args.join(" "), errors.trim());
    }
    Ok(())
}

fn find(dir: &Path, extension: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            return Ok(path);
        }
    }
    bail!("apt-get left no .{extension} file in {}", dir.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_become_entries_for_sources() {
        let list =
            "# deb-src a comment\ndeb [arch=amd64] http://a.test b c\ndeb-src http://a.test b c\n";
        assert_eq!(lines(list), "deb-src [arch=amd64] http://a.test b c\n");
        let sources = "Types: deb\nURIs: http://a.test\n\nTypes: deb deb-src\nSuites: b\n";
        assert_eq!(
            stanzas(sources),
            "Types: deb-src\nURIs: http://a.test\n\nTypes: deb-src\nSuites: b\n"
        );
    }
}
