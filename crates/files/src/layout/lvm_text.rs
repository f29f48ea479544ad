//! The text that LVM keeps its metadata as: `name = value` and `name { ... }`, values being numbers, strings and lists.

use crate::{Error, Result};

/// Groups lie in groups four deep.
const DEPTH_MAX: u32 = 8;

/// One side of a `=`.
#[derive(Debug, PartialEq)]
pub(super) enum Value {
    Number(u64),
    Text(String),
    List(Vec<Value>),
    Group(Group),
}

/// What stands between braces, in order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Group(pub(super) Vec<(String, Value)>);

impl Group {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(one, _)| one == name).map(|(_, value)| value)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        if let Some(Value::Number(number)) = self.get(name) { Some(*number) } else { None }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        if let Some(Value::Text(text)) = self.get(name) { Some(text) } else { None }
    }

    pub(super) fn list(&self, name: &str) -> &[Value] {
        if let Some(Value::List(list)) = self.get(name) { list } else { &[] }
    }

    /// The groups within one of these names; none if there is no such group.
    pub(super) fn groups(&self, name: &str) -> impl Iterator<Item = (&str, &Group)> {
        let within = if let Some(Value::Group(group)) = self.get(name) { group.0.as_slice() } else { &[] };
        within.iter().filter_map(|(name, value)| match value {
            Value::Group(group) => Some((name.as_str(), group)),
            _ => None,
        })
    }
}

/// Reads the whole text.
pub(super) fn parse(text: &str) -> Result<Group> {
    let mut reader = Reader { rest: text };
    let group = reader.group(0)?;
    if reader.peek().is_some() { Err(wrong("ends too early")) } else { Ok(group) }
}

fn wrong(how: &str) -> Error {
    Error::corrupt(format!("the metadata of an LVM group {how}"))
}

struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    /// The next character that is neither space nor comment.
    fn peek(&mut self) -> Option<char> {
        loop {
            self.rest = self.rest.trim_start_matches(|one: char| one.is_whitespace() || one == '\0');
            if !self.rest.starts_with('#') {
                return self.rest.chars().next();
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.rest = &self.rest[wanted.len_utf8()..];
        }
        found
    }

    fn word(&mut self) -> Result<&'t str> {
        self.peek();
        let end = self.rest.find(|one: char| !(one.is_alphanumeric() || "+_.-".contains(one)));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        if word.is_empty() { Err(wrong("lacks a name")) } else { Ok(word) }
    }

    fn group(&mut self, depth: u32) -> Result<Group> {
        if depth > DEPTH_MAX {
            return Err(wrong("is nested too deep"));
        }
        let mut group = Group::default();
        while !matches!(self.peek(), None | Some('}')) {
            let name = self.word()?.to_owned();
            let value = if self.take('{') {
                let inner = self.group(depth + 1)?;
                if !self.take('}') {
                    return Err(wrong("lacks a brace"));
                }
                Value::Group(inner)
            } else if self.take('=') {
                self.value()?
            } else {
                return Err(wrong("lacks a value"));
            };
            group.0.push((name, value));
        }
        Ok(group)
    }

    fn value(&mut self) -> Result<Value> {
        if !self.take('[') {
            return self.single();
        }
        let mut list = Vec::new();
        while !self.take(']') {
            list.push(self.single()?);
            if !self.take(',') && self.peek() != Some(']') {
                return Err(wrong("has a list without end"));
            }
        }
        Ok(Value::List(list))
    }

    fn single(&mut self) -> Result<Value> {
        if !self.take('"') {
            let word = self.word()?;
            return Ok(word.parse().map_or_else(|_| Value::Text(word.to_owned()), Value::Number));
        }
        let mut text = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((at, one)) = characters.next() {
            match one {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(Value::Text(text));
                }
                '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
                _ => text.push(one),
            }
        }
        Err(wrong("has a string without end"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_strings_lists_and_groups_are_read() {
        let text = "vg {\n# comment }\nid = \"a\\\"b\"\nseqno = 7\nstatus = [\"READ\", \"WRITE\"]\nempty=[]\npv { n = 1 } }\n\0\0";
        let root = parse(text).expect("a text");
        let Some(Value::Group(group)) = root.get("vg") else { panic!("{root:?}") };
        assert_eq!(group.text("id"), Some("a\"b"));
        assert_eq!(group.number("seqno"), Some(7));
        assert_eq!(group.list("status").len(), 2);
        assert!(group.list("empty").is_empty());
    }

    #[test]
    fn what_is_no_text_of_lvm_is_an_error() {
        let deep = "a {".repeat(5000);
        for text in ["a", "a {", "a = ", "a = [1", "a = \"x", "}", deep.as_str(), "{"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
