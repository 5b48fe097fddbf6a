//! What a weight file says beside its tensors.

/// A plain value beside the tensors of a checkpoint: a setting, a text, a record of settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Python's `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of at most 64 bits.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A text, or a path of the file system.
    Text(String),
    /// A list, tuple or set.
    List(Vec<Value>),
    /// A dictionary with keys that are texts or integers, or the fields of a record, in the order of the file.
    Fields(Vec<(String, Value)>),
    /// Something else, by its name.
    Opaque(String),
}

impl Value {
    /// The field `name` of a dictionary or record.
    pub fn field(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Fields(fields) => {
                fields.iter().rev().find(|(field, _)| field == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}
