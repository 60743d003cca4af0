//! Tables for people and for Markdown.

use std::time::Duration;

/// A table with aligned columns.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self {
            rows: vec![head.map(str::to_owned).to_vec()],
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(
            cells.len(),
            self.rows[0].len(),
            "as many cells as the head has"
        );
        self.rows.push(cells);
    }

    pub(crate) fn print(&self) {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        for (index, row) in self.rows.iter().enumerate() {
            let cells: Vec<_> = row
                .iter()
                .enumerate()
                .map(|(column, cell)| format!("{cell:<width$}", width = width(column)))
                .collect();
            println!("| {} |", cells.join(" | "));
            if index == 0 {
                let lines: Vec<_> = (0..row.len())
                    .map(|column| "-".repeat(width(column)))
                    .collect();
                println!("| {} |", lines.join(" | "));
            }
        }
    }
}

/// The middle of some durations, and the longest.
pub(crate) fn median_and_worst(durations: &[Duration]) -> Option<(Duration, Duration)> {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    Some((*sorted.get(sorted.len() / 2)?, *sorted.last()?))
}

/// Milliseconds, without a fraction from ten on.
pub(crate) fn millis(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    if millis < 10.0 {
        format!("{millis:.1} ms")
    } else {
        format!("{millis:.0} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_five_is_the_third() {
        let durations: Vec<_> = [5, 1, 4, 2, 3].map(Duration::from_millis).to_vec();
        let expected = (Duration::from_millis(3), Duration::from_millis(5));
        assert_eq!(median_and_worst(&durations), Some(expected));
        assert_eq!(median_and_worst(&[]), None);
    }
}
