//! What goes to standard output: tables for people; JSON, YAML and tab-separated values for programs.

mod query;
mod shape;

use clap::{Args as ClapArgs, ValueEnum};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use query::Query;
use serde::Serialize;
use serde_json::Value;
use std::io::Write;

/// How to print what was found or done.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Output {
    /// How to print what was found or done.
    #[arg(id = "output", long = "output", short = 'o', global = true, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Print only what this JMESPath expression finds in the answer, as "[?state=='failed'].id".
    #[arg(long, global = true, value_name = "JMESPATH", value_parser = query::parse)]
    query: Option<Query>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For programs, and for people who edit it.
    Yaml,
    /// Values alone, tabs between them: for shells.
    Tsv,
}

impl Output {
    /// Whether lines may be shown as they come.
    pub(crate) fn is_for_people(&self) -> bool {
        self.format == Format::Table && self.query.is_none()
    }
}

/// Prints `value` as is wished, or the table that `table` makes of it.
pub(crate) fn print(
    output: &Output,
    value: &impl Serialize,
    table: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    match writeln!(std::io::stdout().lock(), "{}", text(output, value, table)?.trim_end_matches('\n')) {
        // Whoever reads us has seen enough, as `head` does.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn text(output: &Output, value: &impl Serialize, table: impl FnOnce() -> String) -> anyhow::Result<String> {
    let Some(query) = &output.query else {
        return Ok(match output.format {
            Format::Table => table(),
            Format::Json => serde_json::to_string_pretty(value)?,
            Format::Yaml => serde_saphyr::to_string(value)?,
            Format::Tsv => shape::tsv(&serde_json::to_value(value)?),
        });
    };
    let found: Value = query.search(value)?;
    Ok(match output.format {
        Format::Table => shape::table(&found),
        Format::Json => serde_json::to_string_pretty(&found)?,
        Format::Yaml => serde_saphyr::to_string(&found)?,
        Format::Tsv => shape::tsv(&found),
    })
}

/// Rows under a heading; columns named in `right` are numbers.
pub(crate) fn table(heading: &[&str], right: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heading);
    table.add_rows(rows);
    for (column, title) in table.column_iter_mut().zip(heading) {
        column.set_padding((0, 2));
        if right.contains(title) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Names and values, one pair a line.
pub(crate) fn facts(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

/// A size for people, in powers of 1024.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// An instant for people: the local time zone, to the second.
pub(crate) fn instant(at: jiff::Timestamp) -> String {
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::json;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        output: Output,
    }

    fn printed(line: &str) -> String {
        let parsed = Line::try_parse_from(format!("x {line}").split_whitespace()).expect("a command line");
        let value = json!([{ "name": "shop", "disks": 2, "gone": null }, { "name": "mail", "disks": 1, "gone": null }]);
        text(&parsed.output, &value, || "for people".to_owned()).expect("it can be printed")
    }

    #[test]
    fn one_answer_in_all_formats() {
        assert_eq!(printed(""), "for people");
        assert!(printed("-o json").starts_with("[\n  {\n"));
        assert_eq!(printed("-o yaml --query [].name").trim_end(), "- shop\n- mail");
        assert_eq!(printed("-o tsv"), "2\t\tshop\n1\t\tmail\n");
        assert_eq!(printed("-o tsv --query [].[name,disks]"), "shop\t2\nmail\t1\n");
        assert_eq!(printed("-o json --query [?disks>`1`].name|[0]"), "\"shop\"");
        assert_eq!(printed("--query [].{n:name}"), "N\nshop\nmail\n");
        assert_eq!(printed("--query length(@)"), "2");
    }

    #[test]
    fn a_query_that_is_none_is_a_wrong_command_line() {
        assert!(Line::try_parse_from(["x", "--query", "[?"]).is_err());
    }
}
