//! Prometheus's text format, version 0.0.4.

use std::fmt::Write as _;

use super::{
    table::{Figure, Form},
    values::Value,
};

/// Values of one figure have to stand together.
pub(super) fn render(values: &[Value]) -> String {
    let mut text = String::new();
    let mut last: Option<&Figure> = None;
    for value in values {
        let Figure { name, label, .. } = value.figure;
        if last != Some(&value.figure) {
            head(&mut text, &value.figure);
            last = Some(&value.figure);
        }
        let labels = label.zip(value.label.as_deref());
        let labels = labels.map(|(label, of)| format!("{{{label}=\"{}\"}}", escaped(of)));
        let labels = labels.unwrap_or_default();
        line(&mut text, format_args!("{name}{labels} {}", value.value));
    }
    text
}

fn head(text: &mut String, figure: &Figure) {
    let form = match figure.form {
        Form::Counter => "counter",
        Form::Gauge => "gauge",
    };
    line(text, format_args!("# HELP {} {}", figure.name, figure.text));
    line(text, format_args!("# TYPE {} {form}", figure.name));
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes everything");
}

/// Names of members come from the network.
fn escaped(label: &str) -> String {
    let escape = |c| match c {
        '\\' => "\\\\".to_owned(),
        '"' => "\\\"".to_owned(),
        '\n' => "\\n".to_owned(),
        other => String::from(other),
    };
    label.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::table::{FENCES, MEMBER_UP, TERM},
        *,
    };

    #[test]
    fn each_figure_has_a_head_and_its_lines() {
        let value = |figure, label: Option<&str>, value| Value {
            figure,
            label: label.map(str::to_owned),
            value,
        };
        let text = render(&[
            value(TERM, None, 7.0),
            value(FENCES, Some("own"), 1.0),
            value(FENCES, Some("other"), 0.0),
            value(MEMBER_UP, Some("a\"\\\nb"), 0.5),
        ]);
        let wanted = "\
# HELP bellwether_term The term of the leadership that is known; 0: none is.
# TYPE bellwether_term gauge
bellwether_term 7
# HELP bellwether_fences_total Servers fenced because they should not be writable.
# TYPE bellwether_fences_total counter
bellwether_fences_total{whose=\"own\"} 1
bellwether_fences_total{whose=\"other\"} 0
# HELP bellwether_member_up 1: the other member's server answers.
# TYPE bellwether_member_up gauge
bellwether_member_up{member=\"a\\\"\\\\\\nb\"} 0.5
";
        assert_eq!(text, wanted);
    }
}
