//! What the script `guest/setup` prints: lines of a word and its value.

use super::{FreezeScript, GuestHooks};

/// A guest has a handful of each; what says more is not our script.
const LINES_MAX: usize = 256;

/// What it said.
#[derive(Debug)]
pub(super) struct Said(Vec<(String, String)>);

impl Said {
    pub(super) fn read(output: &str) -> Self {
        let lines = output.lines().take(LINES_MAX).filter_map(|line| line.split_once(' '));
        Self(lines.map(|(word, value)| (word.to_owned(), value.to_owned())).collect())
    }

    /// The last value of a word.
    pub(super) fn value(&self, word: &str) -> Option<&str> {
        self.0.iter().rev().find(|(said, _)| said == word).map(|(_, value)| value.as_str())
    }

    /// Adds it to what is known of the guest.
    pub(super) fn tell(&self, hooks: &mut GuestHooks) {
        for (word, value) in &self.0 {
            match word.as_str() {
                "hook" => hooks.hook = value.parse().ok(),
                "enabled" => hooks.enabled = value == "yes",
                "script" => hooks.scripts.extend(
                    value
                        .split_once(' ')
                        .map(|(name, state)| FreezeScript { name: name.to_owned(), state: state.to_owned() }),
                ),
                "application" => hooks.applications.push(value.clone()),
                "kept" => hooks.kept.push(value.clone()),
                "say" => hooks.advice.push(value.clone()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_told() {
        let text = "hook 2\nenabled yes\nscript postgresql ours\nscript shop writable-by-others\n\
                    application mariadb\nkept freeze.conf\nnonsense\nrestart yes\nsay do this by hand\n";
        let said = Said::read(text);
        assert_eq!((said.value("restart"), said.value("nonsense")), (Some("yes"), None));
        let mut hooks = GuestHooks::default();
        said.tell(&mut hooks);
        assert_eq!((hooks.hook, hooks.enabled, hooks.scripts.len()), (Some(2), true, 2));
        assert_eq!(hooks.scripts[1].state, "writable-by-others");
        assert_eq!((hooks.kept, hooks.advice), (vec!["freeze.conf".into()], vec!["do this by hand".into()]));
        let mut none = GuestHooks::default();
        Said::read("hook none\nenabled no\n").tell(&mut none);
        assert_eq!((none.hook, none.enabled), (None, false));
    }
}
