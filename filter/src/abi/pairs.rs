//! The ABI's form of a list of fields: a count, the sizes, then each name and value closed by a NUL.

use super::Status;
use std::ops::Range;

/// A list of fields in the form in which it crosses the boundary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairs {
    bytes: Vec<u8>,
    count: usize,
}

/// Bytes of the table's entry for one field.
const ENTRY: usize = 8;
/// Bytes before the table.
const COUNT: usize = 4;

impl Pairs {
    /// Writes `fields` down.
    ///
    /// # Errors
    /// [`Status::BadArgument`] if they do not fit the form's 32-bit sizes.
    pub fn write<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Result<Self, Status> {
        let small = |size: usize| u32::try_from(size).map(u32::to_le_bytes).map_err(|_| Status::BadArgument);
        let (count, text) = fields.clone().fold((0usize, 0usize), |(count, text), (name, value)| {
            (count + 1, text.saturating_add(name.len()).saturating_add(value.len()).saturating_add(2))
        });
        let mut bytes = Vec::with_capacity(COUNT + ENTRY * count + text);
        bytes.extend(small(count)?);
        for (name, value) in fields.clone() {
            bytes.extend(small(name.len())?);
            bytes.extend(small(value.len())?);
        }
        for (name, value) in fields {
            bytes.extend_from_slice(name);
            bytes.push(0);
            bytes.extend_from_slice(value);
            bytes.push(0);
        }
        Ok(Self { bytes, count })
    }

    /// Reads what a host wrote. No byte at all is an empty list.
    ///
    /// # Errors
    /// [`Status::ParseFailure`] if the sizes do not add up.
    pub fn read(bytes: Vec<u8>) -> Result<Self, Status> {
        if bytes.is_empty() {
            return Ok(Self { bytes, count: 0 });
        }
        let count = size(&bytes, 0).ok_or(Status::ParseFailure)?;
        let table = bytes.get(COUNT..).unwrap_or_default();
        if count > table.len() / ENTRY {
            return Err(Status::ParseFailure);
        }
        let pairs = Self { bytes, count };
        if pairs.places().count() == count { Ok(pairs) } else { Err(Status::ParseFailure) }
    }

    /// Every field as (name, value), in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.places().filter_map(|(name, value)| Some((self.bytes.get(name)?, self.bytes.get(value)?)))
    }

    /// Where the name and the value of every field lie in [`as_bytes`](Self::as_bytes), in order.
    pub fn places(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let mut at = COUNT + ENTRY * self.count;
        let mut next = move |size: usize| {
            let place = at..at.checked_add(size)?;
            // The word, and the NUL after it.
            at = place.end.checked_add(1).filter(|end| *end <= self.bytes.len())?;
            Some(place)
        };
        (0..self.count).map_while(move |index| {
            let entry = COUNT + ENTRY * index;
            Some((next(size(&self.bytes, entry)?)?, next(size(&self.bytes, entry + 4)?)?))
        })
    }

    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The bytes that cross the boundary, to keep.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The bytes that cross the boundary.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn size(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*word)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(fields: &[(&str, &str)]) -> Pairs {
        Pairs::write(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))).unwrap()
    }

    #[test]
    fn round_trip() {
        let written = pairs(&[(":path", "/a?b"), ("x", ""), ("x", "two")]);
        let read = Pairs::read(written.as_bytes().to_vec()).unwrap();
        assert_eq!(read, written);
        let fields: Vec<_> = read.iter().collect();
        assert_eq!(fields, [(&b":path"[..], &b"/a?b"[..]), (b"x", b""), (b"x", b"two")]);
    }

    #[test]
    fn nothing_is_an_empty_list() {
        assert_eq!(Pairs::read(Vec::new()).unwrap().len(), 0);
        assert_eq!(Pairs::read(vec![0; 4]).unwrap().len(), 0);
    }

    #[test]
    fn every_truncation_and_every_lie_is_refused() {
        let whole = pairs(&[("name", "value"), ("other", "thing")]).as_bytes().to_vec();
        for end in 1..whole.len() {
            assert_eq!(Pairs::read(whole[..end].to_vec()), Err(Status::ParseFailure), "cut at {end}");
        }
        for at in (0..COUNT + 2 * ENTRY).step_by(4) {
            let mut lie = whole.clone();
            lie[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
            assert_eq!(Pairs::read(lie), Err(Status::ParseFailure), "lie at {at}");
        }
    }
}
