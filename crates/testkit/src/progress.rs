//! Saying what is going on while something slow happens.

/// Receives one line for each slow step, in words for a person.
pub type Progress<'a> = &'a dyn Fn(&str);

/// Prints progress to standard error.
pub fn to_stderr(line: &str) {
    eprintln!("  {line}");
}
