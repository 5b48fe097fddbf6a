//! What can be wrong with a weight file.

use crate::WeightType;
use std::fmt::{self, Display, Write as _};
use steropes_ops::OpError;
use steropes_tensor::DeviceError;

/// A weight file that cannot be used. Nothing was computed with it.
///
/// Every message is one line that names the file, the tensor by its full path, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read `{file}`: {source}", file = OneLine(.file))]
    Io {
        /// The file.
        file: String,
        /// The reason given by the system.
        source: std::io::Error,
    },
    /// The file ends before or after the place where its header says.
    #[error(
        "`{file}` is truncated or was appended to: it has {found} bytes, its header speaks of {expected}; \
         get the file again",
        file = OneLine(.file)
    )]
    Truncated {
        /// The file.
        file: String,
        /// Bytes that the header speaks of.
        expected: u64,
        /// Bytes that the file has.
        found: u64,
    },
    /// The file is in another format or its header is damaged.
    #[error("`{file}` is no valid {format} file ({reason}); get the file again or convert it to safetensors", file = OneLine(.file), reason = OneLine(.reason))]
    Format {
        /// The file.
        file: String,
        /// The format that its first bytes speak of.
        format: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is sound, but of a kind that is not read.
    #[error("`{file}`: {problem}", file = OneLine(.file), problem = OneLine(.problem))]
    Refused {
        /// The file.
        file: String,
        /// What it is and what to do.
        problem: String,
    },
    /// A tensor that the network needs is not in the file.
    #[error("`{file}`: tensor `{tensor}` is missing; check that config.json belongs to this file", file = OneLine(.file), tensor = OneLine(.tensor))]
    Missing {
        /// The file.
        file: String,
        /// Full path of the tensor.
        tensor: String,
    },
    /// A tensor has another shape than the network needs.
    #[error(
        "`{file}`: tensor `{tensor}` must have shape {expected}, got {found:?}; \
         check that config.json belongs to this file",
        file = OneLine(.file), tensor = OneLine(.tensor)
    )]
    Shape {
        /// The file.
        file: String,
        /// Full path of the tensor.
        tensor: String,
        /// The shape it should have.
        expected: String,
        /// The shape it has.
        found: Vec<usize>,
    },
    /// A tensor is stored in an element type that is not read.
    #[error("`{file}`: tensor `{tensor}` must hold {expected}, got {found}; convert the file", file = OneLine(.file), tensor = OneLine(.tensor))]
    ElementType {
        /// The file.
        file: String,
        /// Full path of the tensor.
        tensor: String,
        /// The element types that are read.
        expected: &'static str,
        /// The element type it has.
        found: String,
    },
    /// A tensor holds NaN or an infinity.
    #[error(
        "`{file}`: tensor `{tensor}` must hold finite values, element {index} is {value}; get the file again",
        file = OneLine(.file), tensor = OneLine(.tensor)
    )]
    NotFinite {
        /// The file.
        file: String,
        /// Full path of the tensor.
        tensor: String,
        /// Row-major index of the first such element.
        index: usize,
        /// The element.
        value: f64,
    },
    /// A tensor holds a value that the precision cannot hold.
    #[error(
        "`{file}`: tensor `{tensor}`: element {index} is {value}, too large for {precision}; use --precision f32",
        file = OneLine(.file), tensor = OneLine(.tensor)
    )]
    TooLarge {
        /// The file.
        file: String,
        /// Full path of the tensor.
        tensor: String,
        /// Row-major index of the first such element.
        index: usize,
        /// The element.
        value: f32,
        /// How weights are to be held.
        precision: WeightType,
    },
    /// The device failed or has no memory for a tensor.
    #[error("`{file}`: tensor `{tensor}`: {source}", file = OneLine(.file), tensor = OneLine(.tensor))]
    Device {
        /// The file.
        file: String,
        /// Full path of the tensor.
        tensor: String,
        /// What the device said.
        source: DeviceError,
    },
    /// The file holds tensors that the network has no place for.
    #[error(
        "`{file}` holds {count} tensors that this network has no place for, the first is `{first}`; \
         check that config.json belongs to this file",
        file = OneLine(.file), first = OneLine(.first)
    )]
    Unexpected {
        /// The file.
        file: String,
        /// How many there are.
        count: usize,
        /// Full path of the first one.
        first: String,
    },
    /// Two names of one tensor hold different values.
    #[error("`{file}`: `{name}` and `{alias}` are two names of one tensor but differ; get the file again", file = OneLine(.file), name = OneLine(.name), alias = OneLine(.alias))]
    AliasesDiffer {
        /// The file.
        file: String,
        /// One name.
        name: String,
        /// The other.
        alias: String,
    },
    /// An op refused the weights.
    #[error("tensor `{tensor}`: {source}", tensor = OneLine(.tensor))]
    Op {
        /// Full path of the tensor.
        tensor: String,
        /// What the op said.
        source: OpError,
    },
}

/// Text from a file as part of a message: control characters, which would end the line or drive a terminal, are escaped.
#[derive(Clone, Copy, Debug)]
pub struct OneLine<'a>(pub &'a str);

impl Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c.is_control() {
            true => write!(f, "{}", c.escape_default()),
            false => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_files_do_not_break_the_line() {
        let (file, tensor) = ("a.pth".to_owned(), "norm\n\u{1b}[2J.weight".to_owned());
        let error = LoadError::Missing { file, tensor };
        assert_eq!(
            error.to_string(),
            "`a.pth`: tensor `norm\\n\\u{1b}[2J.weight` is missing; check that config.json belongs to this file"
        );
    }
}
