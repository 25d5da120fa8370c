//! A reply as it came over the wire, RESP2 and RESP3.
//!
//! Why not redis-rs's `Value`? It makes one `Nil` of `$-1`, `*-1` and `_`, takes error texts apart, and refuses an
//! error line that is not UTF-8; the contract speaks about all three.

use std::fmt;

/// A reply. Comparable with itself, and with an `i64` or a `&str` for short assertions.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// `:1`
    Int(i64),
    /// `$3`
    Bulk(Vec<u8>),
    /// `+OK`
    Simple(String),
    /// `-ERR text` or `!`, the whole text without the `-` (bytes that are not UTF-8 replaced)
    Error(String),
    /// `$-1`: the null bulk string of RESP2
    NullBulk,
    /// `*-1`: the null array of RESP2
    NullArray,
    /// `_`: the null of RESP3
    Null,
    /// `*2`
    Array(Vec<Value>),
    /// `%1`
    Map(Vec<(Value, Value)>),
    /// `~2`
    Set(Vec<Value>),
    /// `>2`
    Push(Vec<Value>),
    /// `,1.5`
    Double(f64),
    /// `#t`
    Bool(bool),
    /// `=7 txt:abc`, without the three letters of the format
    Verbatim(Vec<u8>),
    /// `(123`
    BigNumber(String),
}

impl Value {
    /// The integer; panics on anything else.
    #[track_caller]
    pub fn int(&self) -> i64 {
        match self {
            Value::Int(number) => *number,
            other => panic!("expected an integer, got {other:?}"),
        }
    }

    /// The integer, or `None` for a null: the reply of LOCK.ACQUIRE.
    #[track_caller]
    pub fn opt_int(&self) -> Option<i64> {
        (!self.is_nil()).then(|| self.int())
    }

    /// Whether this is a null of any kind. Compare with `Value::NullBulk` where the kind matters.
    pub fn is_nil(&self) -> bool {
        matches!(self, Value::NullBulk | Value::NullArray | Value::Null)
    }

    /// Whether this is an error.
    pub fn is_err(&self) -> bool {
        matches!(self, Value::Error(_))
    }

    /// The text of an error, code word first; panics on anything else.
    #[track_caller]
    pub fn err_text(&self) -> &str {
        match self {
            Value::Error(text) => text,
            other => panic!("expected an error, got {other:?}"),
        }
    }

    /// A string of any kind (not an error) as text; panics on anything else.
    #[track_caller]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// A string of any kind (not an error) as bytes; panics on anything else.
    #[track_caller]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Value::Bulk(bytes) | Value::Verbatim(bytes) => bytes,
            Value::Simple(text) | Value::BigNumber(text) => text.as_bytes(),
            other => panic!("expected a string, got {other:?}"),
        }
    }

    /// The elements of an array, set or push; panics on anything else.
    #[track_caller]
    pub fn array(&self) -> &[Value] {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => items,
            other => panic!("expected an array, got {other:?}"),
        }
    }

    /// The pairs of a RESP3 map, or of the flat array that stands for one in RESP2; panics on anything else.
    #[track_caller]
    pub fn map(&self) -> Vec<(String, Value)> {
        match self {
            Value::Map(pairs) => pairs.iter().map(|(name, value)| (name.text(), value.clone())).collect(),
            Value::Array(items) if items.len() % 2 == 0 => {
                items.chunks(2).map(|pair| (pair[0].text(), pair[1].clone())).collect()
            }
            other => panic!("expected a map, got {other:?}"),
        }
    }

    /// The entry `name` of a map (see [`Value::map`]); panics when there is none.
    #[track_caller]
    pub fn get(&self, name: &str) -> Value {
        match self.map().into_iter().find(|(key, _)| key == name) {
            Some((_, value)) => value,
            None => panic!("no entry {name} in {self:?}"),
        }
    }
}

impl PartialEq<i64> for Value {
    fn eq(&self, other: &i64) -> bool {
        *self == Value::Int(*other)
    }
}

impl PartialEq<&str> for Value {
    /// Equal to a string of any kind, never to an error.
    fn eq(&self, other: &&str) -> bool {
        match self {
            Value::Bulk(bytes) | Value::Verbatim(bytes) => bytes == other.as_bytes(),
            Value::Simple(text) => text == other,
            _ => false,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Int(number) => write!(f, "{number}"),
            Value::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Value::Verbatim(bytes) => write!(f, "verbatim \"{}\"", bytes.escape_ascii()),
            Value::Simple(text) => write!(f, "+{text}"),
            Value::Error(text) => write!(f, "-{text}"),
            Value::NullBulk => write!(f, "null($-1)"),
            Value::NullArray => write!(f, "null(*-1)"),
            Value::Null => write!(f, "null(_)"),
            Value::Array(items) => f.debug_list().entries(items).finish(),
            Value::Set(items) => f.debug_set().entries(items).finish(),
            Value::Push(items) => {
                write!(f, "push ")?;
                f.debug_list().entries(items).finish()
            }
            Value::Map(pairs) => f.debug_map().entries(pairs.iter().map(|(k, v)| (k, v))).finish(),
            Value::Double(number) => write!(f, "{number:?}"),
            Value::Bool(yes) => write!(f, "{yes}"),
            Value::BigNumber(text) => write!(f, "({text}"),
        }
    }
}

/// The first reply in `bytes` and how many bytes it took; `None` while it is incomplete. Panics on bytes that are no
/// RESP, since nothing read after them could be trusted.
pub fn parse_value(bytes: &[u8]) -> Option<(Value, usize)> {
    let mut cursor = Cursor { bytes, at: 0 };
    let value = cursor.value()?;
    Some((value, cursor.at))
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn value(&mut self) -> Option<Value> {
        let line = self.line()?;
        let (kind, rest) = line.split_first().unwrap_or_else(|| panic!("empty line instead of a reply"));
        let text = || String::from_utf8_lossy(rest).into_owned();
        Some(match kind {
            b'+' => Value::Simple(text()),
            b'-' => Value::Error(text()),
            b':' => Value::Int(number(rest)),
            b'(' => Value::BigNumber(text()),
            b',' => Value::Double(text().parse().unwrap()),
            b'#' => Value::Bool(rest == b"t"),
            b'_' => Value::Null,
            b'$' if number(rest) < 0 => Value::NullBulk,
            b'*' if number(rest) < 0 => Value::NullArray,
            b'$' => Value::Bulk(self.take(rest)?.to_vec()),
            b'!' => Value::Error(String::from_utf8_lossy(self.take(rest)?).into_owned()),
            b'=' => Value::Verbatim(self.take(rest)?.get(4..).unwrap_or_default().to_vec()),
            b'*' => Value::Array(self.items(number(rest))?),
            b'~' => Value::Set(self.items(number(rest))?),
            b'>' => Value::Push(self.items(number(rest))?),
            b'%' => Value::Map(self.pairs(number(rest))?),
            // An attribute is an extra before the reply that it belongs to.
            b'|' => {
                self.pairs(number(rest))?;
                self.value()?
            }
            _ => panic!("not RESP: \"{}\"", line.escape_ascii()),
        })
    }

    fn items(&mut self, count: i64) -> Option<Vec<Value>> {
        (0..count).map(|_| self.value()).collect()
    }

    fn pairs(&mut self, count: i64) -> Option<Vec<(Value, Value)>> {
        (0..count).map(|_| Some((self.value()?, self.value()?))).collect()
    }

    /// Up to the next CR LF, which is skipped.
    fn line(&mut self) -> Option<&'a [u8]> {
        let rest = self.bytes.get(self.at..)?;
        let length = rest.windows(2).position(|pair| pair == b"\r\n")?;
        self.at += length + 2;
        rest.get(..length)
    }

    /// As many bytes as `length` says, and the CR LF behind them.
    fn take(&mut self, length: &[u8]) -> Option<&'a [u8]> {
        let length = usize::try_from(number(length)).unwrap();
        let rest = self.bytes.get(self.at..)?;
        let end = rest.get(length..length + 2)?;
        assert_eq!(end, b"\r\n", "a bulk string must end in CR LF");
        self.at += length + 2;
        rest.get(..length)
    }
}

#[track_caller]
fn number(digits: &[u8]) -> i64 {
    let text = String::from_utf8_lossy(digits);
    text.parse().unwrap_or_else(|_| panic!("not a number: {text:?}"))
}
