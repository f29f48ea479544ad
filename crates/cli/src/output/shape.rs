//! Any JSON value as lines of a shell, or as a table.

use serde_json::Value;

/// A line an entry, tabs between its values; an object's are in the order of its fields' names.
pub(crate) fn tsv(value: &Value) -> String {
    let line = |cells: Vec<String>| cells.join("\t") + "\n";
    match value {
        Value::Array(entries) => entries.iter().map(|entry| line(cells(entry))).collect(),
        other => line(cells(other)),
    }
}

/// A table: of objects, with their fields as heading; of lists, without; of anything else, itself.
pub(crate) fn table(value: &Value) -> String {
    let Value::Array(entries) = value else { return fields(value) };
    let Some(first) = entries.first() else { return String::new() };
    match first.as_object() {
        Some(object) => {
            let names: Vec<&String> = object.keys().collect();
            let heading: Vec<String> =
                names.iter().map(|name| name.to_uppercase().replace('_', " ")).collect();
            let heading: Vec<&str> = heading.iter().map(String::as_str).collect();
            let row = |entry: &Value| names.iter().map(|name| cell(&entry[name.as_str()])).collect();
            super::table(&heading, &[], entries.iter().map(row))
        }
        None => {
            let columns = entries.iter().map(|entry| cells(entry).len()).max().unwrap_or(1);
            let padded = entries.iter().map(|entry| {
                let mut row = cells(entry);
                row.resize(columns, String::new());
                row
            });
            let text = super::table(&vec![""; columns], &[], padded);
            text.split_once('\n').map_or(String::new(), |(_, rows)| rows.to_owned())
        }
    }
}

/// An object, a field a line; anything else as it is.
fn fields(value: &Value) -> String {
    let Some(object) = value.as_object() else { return cell(value) };
    let pairs: Vec<_> = object.iter().map(|(name, value)| (name.as_str(), cell(value))).collect();
    super::facts(&pairs)
}

fn cells(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().map(cell).collect(),
        Value::Object(fields) => fields.values().map(cell).collect(),
        other => vec![cell(other)],
    }
}

/// One value on one line: what would break it is escaped.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => {
            text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_would_break_a_line_is_escaped() {
        assert_eq!(
            tsv(&json!([["a\tb", "c\nd", "e\\f", true, null, [1]]])),
            "a\\tb\tc\\nd\te\\\\f\ttrue\t\t[1]\n"
        );
        assert_eq!(tsv(&json!({ "b": 2, "a": 1 })), "1\t2\n");
        assert_eq!(tsv(&json!("alone")), "alone\n");
        assert_eq!(tsv(&json!([])), "");
    }

    #[test]
    fn a_table_of_anything() {
        assert_eq!(table(&json!([{ "stored_bytes": 1, "name": "x" }])), "NAME  STORED BYTES\nx     1\n");
        assert_eq!(table(&json!([["x", 1], ["long"]])), "x     1\nlong\n");
        assert_eq!(table(&json!({ "name": "x" })), "name  x\n");
        assert_eq!((table(&json!([])), table(&json!(3))), (String::new(), "3".to_owned()));
    }
}
