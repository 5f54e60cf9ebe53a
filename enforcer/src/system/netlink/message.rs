//! Messages and attributes as bytes. Nothing in here does I/O, and no input makes it panic.

use std::fmt;

const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
/// `NLM_F_REQUEST`
const REQUEST: u16 = 0x1;
/// `NLA_F_NESTED`
const NESTED: u16 = 0x8000;
/// `NLA_TYPE_MASK`
const TYPE_MASK: u16 = 0x3fff;

/// Bytes that are no message or attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::system) struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

// === impl Request ===

/// A message under construction.
#[derive(Clone, Debug)]
pub(in crate::system) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// A message of type `kind` whose fixed part (`nfgenmsg`, `ifinfomsg` ...) is `fixed`.
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(fixed);
        let mut request = Self { bytes };
        request.pad();
        request
    }

    /// Appends an attribute. Values longer than 65,531 bytes do not occur here and are cut.
    #[must_use]
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let value = &value[..value.len().min(usize::from(u16::MAX) - ATTRIBUTE_HEADER)];
        let length = u16::try_from(value.len() + ATTRIBUTE_HEADER).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    /// Appends an attribute that holds text, with the NUL that the kernel wants.
    #[must_use]
    pub fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Appends an attribute that holds the attributes which `fill` appends.
    #[must_use]
    pub fn nested(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; ATTRIBUTE_HEADER]);
        let mut filled = fill(self);
        let length = u16::try_from(filled.bytes.len() - start).unwrap_or(u16::MAX);
        filled.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled.bytes[start + 2..start + 4].copy_from_slice(&(kind | NESTED).to_ne_bytes());
        filled
    }

    /// The bytes to send, under the sequence number by which the answer is known.
    pub fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }

    fn pad(&mut self) {
        self.bytes.resize(aligned(self.bytes.len()), 0);
    }
}

// === impl Message ===

/// A message that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::system) struct Message<'a> {
    /// `nlmsg_type`
    pub kind: u16,
    /// `nlmsg_flags`
    pub flags: u16,
    /// `nlmsg_seq`: of the request that it answers.
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Takes the first message off `datagram`; `None` at its end.
    pub fn next(datagram: &mut &'a [u8]) -> Option<Result<Self, Malformed>> {
        if datagram.is_empty() {
            return None;
        }
        let bytes = *datagram;
        *datagram = &[];
        let Some(length) = native32(bytes).and_then(|n| usize::try_from(n).ok()) else {
            return Some(Err(Malformed("a message header that is cut")));
        };
        if length < HEADER || length > bytes.len() {
            return Some(Err(Malformed("a message longer than what came")));
        }
        *datagram = bytes.get(aligned(length)..).unwrap_or_default();
        Some(Ok(Self {
            kind: u16::from_ne_bytes([bytes[4], bytes[5]]),
            flags: u16::from_ne_bytes([bytes[6], bytes[7]]),
            sequence: u32::from_ne_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
            payload: &bytes[HEADER..length],
        }))
    }
}

// === impl Attributes ===

/// Attributes one after the other: (type without its flags, value).
#[derive(Clone, Debug)]
pub(in crate::system) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The attributes in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Those that follow a fixed part of `fixed` bytes.
    pub fn after(payload: &'a [u8], fixed: usize) -> Result<Self, Malformed> {
        payload
            .get(fixed..)
            .map(Self)
            .ok_or(Malformed("a message shorter than its fixed part"))
    }

    /// The value of the first attribute of type `wanted`.
    pub fn find(&self, wanted: u16) -> Result<Option<&'a [u8]>, Malformed> {
        for attribute in self.clone() {
            let (kind, value) = attribute?;
            if kind == wanted {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.0);
        let &[l0, l1, k0, k1, ..] = bytes else {
            return Some(Err(Malformed("an attribute header that is cut")));
        };
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        if length < ATTRIBUTE_HEADER || length > bytes.len() {
            return Some(Err(Malformed("an attribute longer than its message")));
        }
        self.0 = bytes.get(aligned(length)..).unwrap_or_default();
        let kind = u16::from_ne_bytes([k0, k1]) & TYPE_MASK;
        Some(Ok((kind, &bytes[ATTRIBUTE_HEADER..length])))
    }
}

// === values ===

/// The first four bytes, in the machine's order.
pub(in crate::system) fn native32(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

/// The first four bytes, in network order.
pub(in crate::system) fn be32(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|b| u32::from_be_bytes(*b))
}

/// The first two bytes, in network order.
pub(in crate::system) fn be16(value: &[u8]) -> Option<u16> {
    value.first_chunk().map(|b| u16::from_be_bytes(*b))
}

/// Text up to the first NUL.
pub(in crate::system) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use test_case::test_case;

    #[test]
    fn what_is_built_reads_back() {
        let bytes = Request::new(0x102, ACK_FLAG, &[2, 0, 0, 0])
            .text(1, "abc")
            .nested(7, |r| r.attribute(3, &[9]).attribute(4, &[]))
            .finish(42);
        let mut rest = bytes.as_slice();
        let message = Message::next(&mut rest).unwrap().unwrap();
        assert_eq!((message.kind, message.sequence), (0x102, 42));
        assert_eq!(message.flags, ACK_FLAG | REQUEST);
        assert!(Message::next(&mut rest).is_none());
        let attributes = Attributes::after(message.payload, 4).unwrap();
        assert_eq!(text(attributes.find(1).unwrap().unwrap()), "abc");
        let inner: Vec<_> = Attributes::new(attributes.find(7).unwrap().unwrap()).collect();
        assert_eq!(inner, [Ok((3, [9].as_slice())), Ok((4, [].as_slice()))]);
    }
    const ACK_FLAG: u16 = super::super::ACK;

    #[test_case(&[1]; "header cut")]
    #[test_case(&[3, 0, 1, 0]; "length below the header")]
    #[test_case(&[0, 0, 1, 0]; "length zero does not loop")]
    #[test_case(&[9, 0, 1, 0, 5, 5, 5, 5]; "longer than what is there")]
    fn malformed_attributes_end_the_walk(bytes: &[u8]) {
        let found: Vec<_> = Attributes::new(bytes).collect();
        assert!(matches!(found.as_slice(), [Err(_)]), "{found:?}");
    }

    #[test]
    fn the_last_attribute_may_lack_its_padding() {
        let found: Vec<_> = Attributes::new(&[5, 0, 1, 0, 77]).collect();
        assert_eq!(found, [Ok((1, [77].as_slice()))]);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for attribute in Attributes::new(&bytes).flatten() {
                let (_, value) = attribute;
                let _ = (native32(value), be32(value), be16(value), text(value));
                let _ = Attributes::new(value).count();
            }
            let mut rest = bytes.as_slice();
            while let Some(message) = Message::next(&mut rest) {
                if message.is_err() {
                    break;
                }
            }
        }
    }
}
