//! The error of a field that does not hold what it should, and the checks that all
//! messages share.

/// A field of a message is missing or has a value that it cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {description}")]
pub struct FieldError {
    /// The path of the field from the message at hand, as in
    /// `filter.and.filters[2].number.ranges[0].max`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

impl FieldError {
    /// An error of a field of the message at hand; `""` is the message itself.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            description: description.into(),
        }
    }

    /// The same error seen from the message that has this message in its field `parent`.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        let dot = if self.field.is_empty() || self.field.starts_with('[') {
            ""
        } else {
            "."
        };
        self.field = format!("{parent}{dot}{}", self.field);
        self
    }
}

/// Says where in a message a result came from.
pub trait At<T> {
    /// It is the value of the field `parent`.
    fn at(self, parent: &str) -> Result<T, FieldError>;

    /// It is one of the values of the repeated field `parent`.
    fn at_item(self, parent: &str, index: usize) -> Result<T, FieldError>;
}

impl<T> At<T> for Result<T, FieldError> {
    fn at(self, parent: &str) -> Self {
        self.map_err(|error| error.within(parent))
    }

    fn at_item(self, parent: &str, index: usize) -> Self {
        self.map_err(|error| error.within(&format!("{parent}[{index}]")))
    }
}

/// The value of a field that must be there.
pub(super) fn required<T>(value: Option<T>, field: &str) -> Result<T, FieldError> {
    value.ok_or_else(|| FieldError::new(field, "is required"))
}

/// A number of 8 bits.
pub(super) fn to_u8(value: u32, field: &str) -> Result<u8, FieldError> {
    u8::try_from(value).map_err(|_| out_of_range(value, field, u8::MAX.into()))
}

/// A number of 16 bits.
pub(super) fn to_u16(value: u32, field: &str) -> Result<u16, FieldError> {
    u16::try_from(value).map_err(|_| out_of_range(value, field, u16::MAX.into()))
}

fn out_of_range(value: u32, field: &str, max: u32) -> FieldError {
    FieldError::new(field, format!("is {value}, must be at most {max}"))
}
