//! Substitution: `{{NAME}}` in arguments and values of the environment becomes what the worker knows.

/// Names without braces, and their values.
pub(super) struct Substitution(pub(super) Vec<(&'static str, String)>);

impl Substitution {
    /// The text with every name replaced, once: what stands in a value stays as it is. A name that is not
    /// known stays as it is, too; it may be meant for the program.
    pub(super) fn of(&self, text: &str) -> String {
        let mut result = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            result.push_str(before);
            let known = after.split_once("}}").and_then(|(name, behind)| {
                let (_, value) = self.0.iter().find(|(known, _)| *known == name)?;
                Some((value, behind))
            });
            match known {
                Some((value, behind)) => {
                    result.push_str(value);
                    rest = behind;
                }
                None => {
                    result.push_str("{{");
                    rest = after;
                }
            }
        }
        result.push_str(rest);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_are_replaced_once_and_all_else_stays() {
        let substitution = Substitution(vec![
            ("CORES", "4".to_owned()),
            ("APP_ID", "{{CORES}}".to_owned()),
        ]);
        for (text, expected) in [
            ("n={{CORES}},{{CORES}}", "n=4,4"),
            ("{{APP_ID}}", "{{CORES}}"),
            ("{{OTHER}} {{CORES}}", "{{OTHER}} 4"),
            ("{{{{CORES}}}}", "{{4}}"),
            ("{{CORES", "{{CORES"),
            ("", ""),
        ] {
            assert_eq!(substitution.of(text), expected);
        }
    }
}
