//! What can be wrong between a type, a JSON value and bytes.

/// Why a value could not be turned into the other form.
///
/// `path` leads from the root of the JSON value to the place: `$.items[3].name`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// The endpoint describes its message wrongly; only its author can help.
    #[error("the description of `{kind}` cannot be used: {reason}")]
    BadSchema {
        /// The message type.
        kind: String,
        /// What is wrong with its tree.
        reason: String,
    },
    /// Write what is expected.
    #[error("{path}: expected {expected}, found {found}")]
    Mismatch {
        /// Where.
        path: String,
        /// What the type wants.
        expected: String,
        /// What the JSON has.
        found: String,
    },
    /// Remove the field, or correct its name.
    #[error("{path}: `{structure}` has no field `{field}`; it has {known}")]
    UnknownField {
        /// Where.
        path: String,
        /// The type.
        structure: String,
        /// The field that was found.
        field: String,
        /// The fields there are.
        known: String,
    },
    /// Add the fields.
    #[error("{path}: `{structure}` lacks {missing}")]
    MissingFields {
        /// Where.
        path: String,
        /// The type.
        structure: String,
        /// The fields that are not there, with their types.
        missing: String,
    },
    /// Correct the name of the case.
    #[error("{path}: `{enumeration}` has no case `{case}`; it has {known}")]
    UnknownCase {
        /// Where.
        path: String,
        /// The type.
        enumeration: String,
        /// The case that was found.
        case: String,
        /// The cases there are.
        known: String,
    },
    /// The bytes are no value of the type: sender and reader disagree on its fields.
    #[error("{path}: expected {expected}, found {found} at byte {at}")]
    BadBytes {
        /// Where in the value.
        path: String,
        /// What the type wants.
        expected: String,
        /// What the bytes say.
        found: String,
        /// Offset in the body.
        at: usize,
    },
    /// The value is complete and bytes are left: the sender's type has more fields.
    #[error("{left} bytes are left after the end of `{kind}` at byte {at}")]
    Trailing {
        /// The message type.
        kind: String,
        /// How many.
        left: usize,
        /// Where the value ended.
        at: usize,
    },
    /// The value passes a limit of [`super::limits`]; it is not shown rather than shown in part.
    #[error("{path}: {what} passes the limit of {limit}")]
    TooLarge {
        /// Where the limit was reached.
        path: String,
        /// What is too large.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}
