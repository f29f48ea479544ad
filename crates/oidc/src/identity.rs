//! Who somebody is, by the provider's word.

use serde_json::{Map, Value};

/// Somebody whom the provider vouches for.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Who vouches.
    pub issuer: String,
    /// Whom the issuer means by it, now and later. Another issuer may mean somebody else.
    pub subject: String,
    /// What else the issuer says of them.
    pub claims: Value,
}

impl Identity {
    /// Issuer and subject as one text. An issuer holds no `#`, so two of them are never the same.
    pub fn key(&self) -> String {
        format!("{}#{}", self.issuer, self.subject)
    }

    /// A claim by its name, or by a JSON pointer as `/realm_access/roles`.
    pub(crate) fn claim(&self, name: &str) -> Option<&Value> {
        let found = if name.starts_with('/') { self.claims.pointer(name) } else { self.claims.get(name) };
        found.filter(|value| !value.is_null())
    }

    /// A claim that is a text, and not an empty one.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.claim(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// A claim that is a list of texts; one text alone is a list of one.
    pub fn list(&self, name: &str) -> Vec<&str> {
        match self.claim(name) {
            Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(one)) => vec![one],
            _ => Vec::new(),
        }
    }

    /// Adds what is not known yet: what an ID token says is signed, and counts more.
    pub(crate) fn add(&mut self, more: Map<String, Value>) {
        let claims = self.claims.as_object_mut().expect("claims are read as an object");
        for (name, value) in more {
            claims.entry(name).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn claims_are_found_by_name_and_by_pointer() {
        let claims = json!({
            "groups": ["a", 1, "b"], "group": "one", "realm_access": { "roles": ["c"] }, "https://x/y": ["d"], "n": null,
        });
        let mut of = Identity { issuer: "https://i".to_owned(), subject: "s".to_owned(), claims };
        assert_eq!((of.list("groups"), of.list("group")), (vec!["a", "b"], vec!["one"]));
        assert_eq!((of.list("/realm_access/roles"), of.list("https://x/y")), (vec!["c"], vec!["d"]));
        assert_eq!((of.list("none"), of.text("n"), of.text("groups")), (vec![], None, None));
        let Value::Object(more) = json!({ "group": "another", "new": "told" }) else { panic!("an object") };
        of.add(more);
        assert_eq!((of.text("group"), of.text("new")), (Some("one"), Some("told")));
    }
}
