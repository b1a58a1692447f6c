//! The few HTTP shapes that pass between a shell and the core.

use std::borrow::Cow;
use std::ops::Range;

/// Header fields in the order the host gave them, pseudo headers (`:method`, `:path`, …) included.
///
/// Names compare without regard to ASCII case. Values are bytes: nothing a client sends is assumed to be UTF-8.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    bytes: Vec<u8>,
    fields: Vec<Field>,
}

/// Where a field's name and value lie.
#[derive(Clone, Copy, Debug)]
struct Field {
    name: usize,
    name_len: usize,
    value: usize,
    value_len: usize,
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

impl Headers {
    /// An empty list with room for `fields` fields of `bytes` bytes in all.
    #[must_use]
    pub fn with_capacity(fields: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), fields: Vec::with_capacity(fields) }
    }

    /// The fields whose names and values lie in `bytes` at these places; what does not lie in there is left out.
    #[must_use]
    pub fn lying_in(bytes: Vec<u8>, fields: impl Iterator<Item = (Range<usize>, Range<usize>)>) -> Self {
        let whole = |range: &Range<usize>| bytes.get(range.clone()).is_some();
        let field = |(name, value): (Range<usize>, Range<usize>)| {
            let (name_len, value_len) = (name.len(), value.len());
            (whole(&name) && whole(&value)).then_some(Field {
                name: name.start,
                name_len,
                value: value.start,
                value_len,
            })
        };
        let fields = fields.filter_map(field).collect();
        Self { bytes, fields }
    }

    /// Appends a field; an earlier one of the same name stays.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        let (name_len, value_len) = (name.len(), value.len());
        self.fields.push(Field { name: start, name_len, value: start + name_len, value_len });
    }

    /// Every field as (name, value), in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().filter_map(|field| {
            let name = self.bytes.get(field.name..)?.get(..field.name_len)?;
            Some((name, self.bytes.get(field.value..)?.get(..field.value_len)?))
        })
    }

    /// Every value of `name`, in order.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// The first value of `name`.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The first value of `name`, if it is UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.first(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(fields: I) -> Self {
        let mut headers = Self::default();
        for (name, value) in fields {
            headers.push(name.as_bytes(), value.as_bytes());
        }
        headers
    }
}

/// A name or value that is often the same, and then costs nothing to make.
pub type Text = Cow<'static, str>;

/// One change to a header list that the shell applies in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Removes every field of this name.
    Remove(Text),
    /// Replaces every field of this name by one.
    Set(Text, Text),
    /// Adds a field and leaves others of this name.
    Add(Text, Text),
}

/// Changes to a header list, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits(pub Vec<Edit>);

impl Edits {
    /// Removes every field of this name.
    pub fn remove(&mut self, name: impl Into<Text>) {
        self.0.push(Edit::Remove(name.into()));
    }

    /// Replaces every field of this name by one.
    pub fn set(&mut self, name: impl Into<Text>, value: impl Into<Text>) {
        self.0.push(Edit::Set(name.into(), value.into()));
    }

    /// Adds a field and leaves others of this name.
    pub fn add(&mut self, name: impl Into<Text>, value: impl Into<Text>) {
        self.0.push(Edit::Add(name.into(), value.into()));
    }
}

/// A complete response made by the gate instead of the upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status code.
    pub status: u16,
    /// Header fields; `content-length` is the host's business.
    pub headers: Vec<(String, String)>,
    /// Body bytes.
    pub body: Vec<u8>,
    /// A word for the host's logs that says why (Envoy: response code details). `[a-z_]+`.
    pub details: &'static str,
    /// For a gRPC client: its status. The host then sends trailers alone, with the body as `grpc-message`.
    pub grpc_status: Option<u32>,
}
