//! Path: where in a value a walk stands, kept as borrowed parts and written out only for an error.

use std::borrow::Cow;
use std::fmt::Write as _;

/// One step from a value to one inside it.
pub(super) enum Step<'a> {
    /// A field, a key or a case: `.name`.
    Name(Cow<'a, str>),
    /// An element: `[3]`.
    Index(usize),
}

/// The steps from the root.
#[derive(Default)]
pub(super) struct Path<'a> {
    steps: Vec<Step<'a>>,
}

impl<'a> Path<'a> {
    pub(super) fn push(&mut self, step: Step<'a>) {
        self.steps.push(step);
    }

    pub(super) fn pop(&mut self) {
        self.steps.pop();
    }

    /// The JSON path, `$` for the root.
    pub(super) fn text(&self) -> String {
        let mut text = "$".to_owned();
        for step in &self.steps {
            // Writing to a String cannot fail.
            let _ = match step {
                Step::Index(index) => write!(text, "[{index}]"),
                Step::Name(name) if plain(name) => write!(text, ".{name}"),
                Step::Name(name) => write!(text, "[{name:?}]"),
            };
        }
        text
    }
}

/// True for a name that needs no quotes in a path.
fn plain(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_fields_elements_and_keys() {
        let mut path = Path::default();
        assert_eq!(path.text(), "$");
        path.push(Step::Name("items".into()));
        path.push(Step::Index(3));
        path.push(Step::Name("two words".into()));
        assert_eq!(path.text(), r#"$.items[3]["two words"]"#);
        path.pop();
        assert_eq!(path.text(), "$.items[3]");
    }
}
