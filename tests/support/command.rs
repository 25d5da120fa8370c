//! The commands in a stream of bytes from a client.

/// A command: its name and its arguments.
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    words: Vec<Vec<u8>>,
}

impl Command {
    /// Whether the name or an argument is this word, in any case of letters.
    pub fn bears(&self, word: &str) -> bool {
        self.words.iter().any(|own| own.eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// The first command in `bytes`, and how many bytes it takes; `None` if it is incomplete. Bytes that are no array of
/// strings are taken as they are, as one command without words.
pub fn split_command(bytes: &[u8]) -> Option<(Command, usize)> {
    if bytes.is_empty() {
        return None;
    }
    let raw = Some((Command { words: Vec::new() }, bytes.len()));
    if bytes[0] != b'*' {
        return raw;
    }
    let mut at = 0;
    let count = number(bytes, &mut at)?;
    let mut words = Vec::new();
    for _ in 0..count {
        match bytes.get(at) {
            None => return None,
            Some(b'$') => {}
            Some(_) => return raw,
        }
        let length = number(bytes, &mut at)?;
        let word = bytes.get(at..at + length)?;
        bytes.get(at + length..at + length + 2)?;
        words.push(word.to_vec());
        at += length + 2;
    }
    Some((Command { words }, at))
}

/// The number in the line at `at`, after its first byte. Moves `at` behind the line.
fn number(bytes: &[u8], at: &mut usize) -> Option<usize> {
    let rest = bytes.get(*at..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    let digits = std::str::from_utf8(&rest[1..end]).unwrap_or_default();
    *at += end + 2;
    Some(digits.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_known_only_when_its_last_byte_is_there() {
        let bytes = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n";
        for cut in 0..20 {
            assert_eq!(split_command(&bytes[..cut]), None, "{cut}");
        }
        let (command, length) = split_command(bytes).unwrap();
        assert_eq!(length, 20);
        assert!(command.bears("get") && command.bears("k") && !command.bears("PING"));
        assert!(split_command(&bytes[length..]).unwrap().0.bears("PING"));
    }

    #[test]
    fn what_is_no_array_passes_as_it_is() {
        assert_eq!(split_command(b"PING\r\n"), Some((Command { words: Vec::new() }, 6)));
        assert_eq!(split_command(b"*1\r\n:1\r\n"), Some((Command { words: Vec::new() }, 8)));
        assert_eq!(split_command(b""), None);
    }
}
