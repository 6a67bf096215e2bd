//! Events of one kind from one producer differ in their values and in little else.
//!
//! [`Shapes`] keeps what was between the values of events that `scan` has read. If the
//! next event has the same bytes there, its values are what lies in between, and
//! nothing is left to parse. This is the speculation of Li et al., "Mison: A Fast JSON
//! Parser for Data Analytics" (VLDB 2017), on whole events.

use wide::u8x32;

use crate::scan::{Field, Raw, scalar};

/// What was between values so far, as a tree: events have the same shape up to where
/// they differ.
#[derive(Debug)]
pub(crate) struct Shapes {
    /// The first has no literal; its children begin events.
    nodes: Vec<Node>,
}

/// The bytes before a value, and what the value is.
#[derive(Debug, Clone)]
struct Node {
    literal: [u8; LITERAL_MAX],
    length: usize,
    /// Bit per byte of the literal.
    mask: u32,
    value: Value,
    /// What may follow: the first of it, by its place in the nodes, 0 for none.
    child: u16,
    /// What may be here instead.
    sibling: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    /// A string, and its place in [`Raw`].
    String(u8),
    /// Another value; `None` is nothing that is read.
    Scalar(Option<Field>),
    /// The event ends here.
    End,
}

/// A value of an event: what it is of, whether it is a string, and where; of strings
/// without the quotes.
pub(crate) type Found = (Option<Field>, bool, usize, usize);

const LITERAL_MAX: usize = 32;
/// Shapes beyond these are read slowly.
const SIBLINGS_MAX: usize = 16;
/// All are forgotten when there are so many.
const NODES_MAX: usize = 1024;

impl Shapes {
    pub(crate) fn new() -> Self {
        Self { nodes: vec![Node::new(b"", Value::End, 0)] }
    }

    /// Reads the event `text[..length]` into `raw`, which has been cleared, if its shape
    /// was seen before. Also looks at what follows it in `text`; at the very end of it
    /// there is not enough to look at.
    #[inline]
    pub(crate) fn read<'a>(&self, text: &'a [u8], length: usize, raw: &mut Raw<'a>) -> Option<()> {
        let mut at = 0;
        let mut next = self.nodes[0].child;
        loop {
            let window = u8x32::new(*text.get(at..)?.first_chunk()?);
            let node = loop {
                let node = self.nodes.get(next as usize).filter(|_| next != 0)?;
                let same = window.simd_eq(u8x32::new(node.literal)).to_bitmask();
                if same & node.mask == node.mask {
                    break node;
                }
                next = node.sibling;
            };
            at += node.length;
            match node.value {
                Value::String(place) => {
                    let end = string_end(text, at)?;
                    raw.set(place as usize, text.get(at..end)?);
                    at = end;
                }
                Value::Scalar(field) => {
                    let (value, end) = scalar(&text[..length], at)?;
                    raw.set_scalar(field, value)?;
                    at = end;
                }
                // Whatever ran past the end of the event is found out here.
                Value::End => return (at == length).then_some(()),
            }
            next = node.child;
        }
    }

    /// Remembers the shape of an event that `scan` has read.
    pub(crate) fn learn(&mut self, line: &[u8], found: &[Found]) {
        if self.nodes.len() + found.len() >= NODES_MAX {
            *self = Self::new();
        }
        let mut parent = 0;
        let mut at = 0;
        for &(field, is_string, start, end) in found {
            let value = match field {
                Some(Field::String(place)) if is_string => Value::String(place as u8),
                _ if is_string => Value::String(Raw::UNREAD as u8),
                _ => Value::Scalar(field),
            };
            match self.follow(parent, &line[at..start], value) {
                Some(child) => parent = child,
                None => return,
            }
            at = end;
        }
        self.follow(parent, &line[at..], Value::End);
    }

    /// The child of `parent` with this literal and value, made if there is none. `None`
    /// if it is too long, or one too many.
    fn follow(&mut self, parent: u16, literal: &[u8], value: Value) -> Option<u16> {
        if literal.len() > LITERAL_MAX {
            return None;
        }
        let first = self.nodes[parent as usize].child;
        let mut siblings = 0;
        let mut next = first;
        while next != 0 {
            let node = &self.nodes[next as usize];
            if node.length == literal.len() && node.literal.starts_with(literal) && node.value == value {
                return Some(next);
            }
            next = node.sibling;
            siblings += 1;
        }
        if siblings == SIBLINGS_MAX {
            return None;
        }
        // In front, because a literal that ends with a quote goes on where that of
        // another type of value ends.
        let place = self.nodes.len() as u16;
        self.nodes.push(Node::new(literal, value, first));
        self.nodes[parent as usize].child = place;
        Some(place)
    }
}

impl Node {
    fn new(bytes: &[u8], value: Value, sibling: u16) -> Self {
        let mut literal = [0; LITERAL_MAX];
        literal[..bytes.len()].copy_from_slice(bytes);
        let mask = ((1u64 << bytes.len()) - 1) as u32;
        Self { literal, length: bytes.len(), mask, value, child: 0, sibling }
    }
}

/// Where the string ends that begins at `at`, if there is no backslash or control
/// character in it.
#[inline]
fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let window = u8x32::new(*text.get(at..)?.first_chunk()?);
        let quote = window.simd_eq(u8x32::splat(b'"')).to_bitmask();
        let odd = window.simd_eq(u8x32::splat(b'\\')) | window.simd_lt(u8x32::splat(0x20));
        let special = quote | odd.to_bitmask();
        if special != 0 {
            let place = special.trailing_zeros();
            return (quote >> place & 1 == 1).then_some(at + place as usize);
        }
        at += LITERAL_MAX;
    }
}
