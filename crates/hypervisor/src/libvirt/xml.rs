//! Reading libvirt's XML by path, and writing XML of ours.

use crate::{Error, ErrorKind, Result};
use roxmltree::{Document, Node};

/// Reads a document.
pub(super) fn parse(text: &str) -> Result<Document<'_>> {
    Document::parse(text).map_err(|e| Error::caused(ErrorKind::Failed, "read the XML that libvirt gave", e))
}

/// The first element by a path of names.
pub(super) fn find<'a, 'input>(node: Node<'a, 'input>, path: &[&str]) -> Option<Node<'a, 'input>> {
    path.iter().try_fold(node, |node, name| node.children().find(|child| child.has_tag_name(*name)))
}

/// All children by this name.
pub(super) fn all<'a, 'input: 'a>(
    node: Node<'a, 'input>,
    name: &'a str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| child.has_tag_name(name))
}

/// The text of an element.
pub(super) fn text<'a>(node: Node<'a, '_>, path: &[&str]) -> Option<&'a str> {
    find(node, path)?.text().map(str::trim).filter(|text| !text.is_empty())
}

/// An attribute of an element.
pub(super) fn attribute<'a>(node: Node<'a, '_>, path: &[&str], name: &str) -> Option<&'a str> {
    find(node, path)?.attribute(name)
}

/// An element to be written. Whatever is put in is escaped: it cannot become another element.
#[derive(Clone, Debug)]
pub(super) struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    text: String,
    children: Vec<Element>,
}

impl Element {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, attributes: Vec::new(), text: String::new(), children: Vec::new() }
    }

    pub(super) fn with(mut self, attribute: &'static str, value: impl Into<String>) -> Self {
        self.attributes.push((attribute, value.into()));
        self
    }

    pub(super) fn saying(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    pub(super) fn holding(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.children.extend(children);
        self
    }

    pub(super) fn write(&self) -> String {
        let attributes: String =
            self.attributes.iter().map(|(name, value)| format!(" {name}=\"{}\"", escaped(value))).collect();
        let inner: String = self.children.iter().map(Self::write).collect();
        format!("<{0}{attributes}>{1}{inner}</{0}>", self.name, escaped(&self.text))
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // XML has no place for these, escaped or not.
            control if control < ' ' && !matches!(control, '\t' | '\n' | '\r') => out.push('\u{fffd}'),
            // Left as they are, attributes would read back with spaces.
            space @ ('\t' | '\n' | '\r') => out.push_str(&format!("&#{};", u32::from(space))),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_written_is_read_back() {
        let hostile = "</a><b x='1'>&amp;\"\n\t é";
        let element = Element::new("a")
            .with("x", hostile)
            .holding([Element::new("c").saying(hostile), Element::new("c")]);
        let written = element.write();
        let document = parse(&written).unwrap();
        let root = document.root();
        assert_eq!(attribute(root, &["a"], "x"), Some(hostile));
        assert_eq!(find(root, &["a", "c"]).and_then(|node| node.text()), Some(hostile));
        assert_eq!(all(find(root, &["a"]).unwrap(), "c").count(), 2);
        assert!(find(root, &["a", "b"]).is_none());
        assert!(parse("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>").is_err());
    }
}
