//! What a program tells at `/metrics`, in Prometheus's text format.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};

/// All samples of one scrape.
///
/// ```
/// use bellwether_testkit::Scrape;
///
/// let scrape = Scrape::parse("# TYPE up gauge\nup 1\nasked_total{by=\"a\",at=\"b\"} 3\n").unwrap();
/// assert_eq!(scrape.value("up", &[]), Some(1.0));
/// assert_eq!(scrape.value("asked_total", &[("by", "a")]), Some(3.0));
/// assert_eq!(scrape.value("asked_total", &[("by", "b")]), None);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Scrape(Vec<(String, BTreeMap<String, String>, f64)>);

impl Scrape {
    /// Reads the answer to a scrape.
    ///
    /// # Errors
    ///
    /// When a line is no sample.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.is_empty());
        let samples = lines.filter(|line| !line.starts_with('#'));
        let read = |line: &str| sample(line).with_context(|| format!("{line:?} is no sample"));
        Ok(Self(samples.map(read).collect::<Result<_>>()?))
    }

    /// The first sample of this name that has these labels, among others.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |found: &BTreeMap<String, String>| {
            let mut wanted = labels.iter();
            wanted.all(|(label, value)| found.get(*label).is_some_and(|found| found == value))
        };
        let found = self.0.iter().find(|(found, l, _)| found == name && has(l));
        found.map(|(_, _, value)| *value)
    }

    /// The names of all samples.
    #[must_use]
    pub fn names(&self) -> BTreeSet<&str> {
        self.0.iter().map(|(name, _, _)| name.as_str()).collect()
    }
}

/// Values of labels must not contain quotation marks, which none here does.
fn sample(line: &str) -> Result<(String, BTreeMap<String, String>, f64)> {
    let (key, value) = line.rsplit_once(' ').context("no value")?;
    let (name, labels) = match key.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').context("no end of labels")?),
        None => (key, ""),
    };
    let mut all = BTreeMap::new();
    let mut rest = labels;
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"").context("no value of a label")?;
        let (value, after) = after.split_once('"').context("no end of a label")?;
        all.insert(label.to_owned(), value.to_owned());
        rest = after.strip_prefix(',').unwrap_or(after);
        ensure!(!rest.starts_with('"'), "a quotation mark in a label");
    }
    Ok((name.to_owned(), all, value.parse()?))
}
