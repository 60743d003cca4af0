//! `cargo xtask commands`: writes the proxy's table of commands from what a real redis-server says.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Write as _,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use bellwether_testkit::{Redis, install};
use redis::Value;

use crate::cargo::root;

const TABLE: &str = "proxy/src/commands/table.rs";

/// Comes before the version in the table's header.
const FROM: &str = "from redis-server ";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; say whether the table is what the installed server of the same version says.
    #[arg(long)]
    check: bool,
}

/// Exit codes as `main` has them; that the server is of another version is the machine's lack.
pub(crate) fn main(arguments: &Arguments) -> ExitCode {
    let outcome = match arguments.check {
        true => check(),
        false => write().map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("{TABLE} is not up to date; run: cargo xtask commands");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("cargo xtask commands: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn write() -> Result<()> {
    let installed = Installed::start()?;
    fs::write(root().join(TABLE), installed.table()?)
        .with_context(|| format!("cannot write {TABLE}"))?;
    println!("{TABLE} is now from redis-server {}", installed.version);
    Ok(())
}

fn check() -> Result<bool> {
    let written = written()?;
    let version = version_in(&written)?;
    let installed = Installed::start()?;
    ensure!(
        version == installed.version,
        "{TABLE} is from redis-server {version}, and {} is installed",
        installed.version
    );
    let same = written == installed.table()?;
    if same {
        println!("{TABLE} is up to date with redis-server {version}");
    }
    Ok(same)
}

fn written() -> Result<String> {
    fs::read_to_string(root().join(TABLE)).with_context(|| format!("cannot read {TABLE}"))
}

fn version_in(table: &str) -> Result<&str> {
    let version = table
        .split_once(FROM)
        .and_then(|(_, rest)| rest.split_once(','));
    let version = version.with_context(|| format!("{TABLE} does not say where it is from"))?;
    Ok(version.0)
}

/// The installed redis-server, running.
struct Installed {
    server: Redis,
    version: String,
}

impl Installed {
    fn start() -> Result<Self> {
        install::redis_server()?;
        let server = Redis::fresh()?;
        let mut info = server.info("server")?;
        let version = info.remove("redis_version");
        let version = version.context("INFO does not tell the version")?;
        Ok(Self { server, version })
    }

    /// The table as it should be.
    fn table(&self) -> Result<String> {
        let groups = groups(&self.server.query(&["COMMAND", "DOCS"])?)?;
        let rows = rows(&self.server.query(&["COMMAND"])?, &groups)?;
        formatted(&source(&self.version, &rows))
    }
}

/// A command, or a subcommand as `container|subcommand`.
#[derive(Debug)]
struct Row {
    arity: i64,
    flags: Vec<String>,
    group: String,
    first_key: i64,
}

fn rows(reply: &Value, groups: &BTreeMap<String, String>) -> Result<BTreeMap<String, Row>> {
    let mut rows = BTreeMap::new();
    for command in array(reply)? {
        let fields = array(command)?;
        let mut entries = vec![fields];
        for subcommand in array(field(fields, 9)?)? {
            entries.push(array(subcommand)?);
        }
        for fields in entries {
            let name = text(field(fields, 0)?)?;
            let group = groups.get(&name);
            let row = Row {
                arity: int(field(fields, 1)?)?,
                flags: array(field(fields, 2)?)?
                    .iter()
                    .map(text)
                    .collect::<Result<_>>()?,
                group: group
                    .with_context(|| format!("{name} has no group"))?
                    .clone(),
                first_key: int(field(fields, 3)?)?,
            };
            rows.insert(name, row);
        }
    }
    Ok(rows)
}

/// The group of each command and subcommand.
fn groups(docs: &Value) -> Result<BTreeMap<String, String>> {
    let mut groups = BTreeMap::new();
    for (name, command) in pairs(docs)? {
        for (key, value) in pairs(command)? {
            match key.as_str() {
                "group" => {
                    groups.insert(name.clone(), text(value)?);
                }
                "subcommands" => groups.append(&mut self::groups(value)?),
                _ => {}
            }
        }
    }
    Ok(groups)
}

fn source(version: &str, rows: &BTreeMap<String, Row>) -> String {
    let mut out = format!(
        "//! The commands of Redis, {FROM}{version}, by its COMMAND and COMMAND DOCS.\n\
         //!\n\
         //! Generated by `cargo xtask commands`; do not edit.\n\n\
         use super::flags::*;\n\
         use super::spec::Family::*;\n\n\
         #[rustfmt::skip]\n\
         pub(super) static TABLE: &[Row] = &[\n"
    );
    for (name, row) in rows {
        let flags = match row.flags.is_empty() {
            true => "0".to_owned(),
            false => row.flags.join(" | ").to_ascii_uppercase(),
        };
        let (arity, family, key) = (row.arity, camel_case(&row.group), row.first_key);
        writeln!(out, "    row({name:?}, {arity}, {flags}, {family}, {key}),").expect("it grows");
    }
    out + "];\n"
}

fn camel_case(group: &str) -> String {
    let capitalised = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    group.split(['-', '_']).map(capitalised).collect()
}

fn formatted(source: &str) -> Result<String> {
    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run rustfmt; run: rustup component add rustfmt")?;
    // It reads all before it writes, so neither waits for the other.
    let input = rustfmt.stdin.take().context("rustfmt has an input")?;
    { input }.write_all(source.as_bytes())?;
    let output = rustfmt.wait_with_output()?;
    ensure!(output.status.success(), "rustfmt does not take the table");
    Ok(String::from_utf8(output.stdout)?)
}

fn field(fields: &[Value], i: usize) -> Result<&Value> {
    let field = fields.get(i);
    field.with_context(|| format!("COMMAND has no field {i}: it takes redis-server 7 or newer"))
}

fn array(value: &Value) -> Result<&[Value]> {
    match value {
        Value::Array(values) => Ok(values),
        other => bail!("{other:?} is no array"),
    }
}

fn pairs(value: &Value) -> Result<Vec<(String, &Value)>> {
    let pair = |pair: &'_ [Value; 2]| text(&pair[0]);
    let (pairs, rest) = array(value)?.as_chunks::<2>();
    ensure!(rest.is_empty(), "{rest:?} is no pair");
    pairs.iter().map(|it| Ok((pair(it)?, &it[1]))).collect()
}

fn text(value: &Value) -> Result<String> {
    match value {
        Value::BulkString(bytes) => Ok(String::from_utf8(bytes.clone())?),
        Value::SimpleString(text) => Ok(text.clone()),
        other => bail!("{other:?} is no text"),
    }
}

fn int(value: &Value) -> Result<i64> {
    match value {
        Value::Int(n) => Ok(*n),
        other => bail!("{other:?} is no number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_up_to_date() {
        let written = written().unwrap();
        let version = version_in(&written).unwrap();
        let installed = Installed::start().unwrap();
        if version == installed.version {
            let is_up_to_date = written == installed.table().unwrap();
            assert!(is_up_to_date, "run: cargo xtask commands");
        } else {
            let installed = installed.version;
            let reason = format!("the table is from {version}, and {installed} is installed");
            bellwether_testkit::skip("the proxy's table of commands is up to date", &reason);
        }
    }

    #[test]
    fn a_row_says_what_the_server_says() {
        let text = |text: &str| Value::BulkString(text.into());
        let status = |text: &str| Value::SimpleString(text.into());
        let entry = |name: &str, flags: Vec<Value>, subcommands: Vec<Value>| {
            let none = || Value::Array(Vec::new());
            let flags = Value::Array(flags);
            let mut fields = vec![text(name), Value::Int(-2), flags];
            fields.extend([Value::Int(1), Value::Int(1), Value::Int(1)]);
            fields.extend([none(), none(), none(), Value::Array(subcommands)]);
            Value::Array(fields)
        };
        let sub = entry("zz|list", vec![], vec![]);
        let reply = Value::Array(vec![entry("zz", vec![status("no_multi")], vec![sub])]);
        let group = || vec![text("group"), text("sorted-set")];
        let mut docs = group();
        let subs = Value::Array(vec![text("zz|list"), Value::Array(group())]);
        docs.extend([text("subcommands"), subs]);
        let docs = Value::Array(vec![text("zz"), Value::Array(docs)]);

        let source = source("1.2.3", &rows(&reply, &groups(&docs).unwrap()).unwrap());
        assert_eq!(version_in(&source).unwrap(), "1.2.3");
        assert!(source.contains("row(\"zz\", -2, NO_MULTI, SortedSet, 1),"));
        assert!(source.contains("row(\"zz|list\", -2, 0, SortedSet, 1),"));
    }
}
