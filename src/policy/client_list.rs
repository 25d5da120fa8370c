//! What CLIENT LIST tells of one client, and nothing else does.

/// The state in which a client that is being closed is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// Something stands in the buffer that answers go to first, and was not sent. (What stands in the list behind that buffer
    /// may have come after an answer that was sent.)
    pub has_unsent: bool,
    /// The client was marked to be closed as soon as possible, which drops all later answers, and not to be closed after its
    /// last answer (QUIT). The server removes the mark before it closes clients that somebody else marked. So a client has it
    /// that was marked before the server came to what the client had sent behind its wait, or whose end was read.
    pub is_marked: bool,
}

/// What a client does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// It runs a command, has sent a part of one, or waits in one: the server keeps the command's arguments.
    pub has_arguments: bool,
    /// It waits in a command.
    pub is_blocked: bool,
    /// It has begun a transaction.
    pub is_in_transaction: bool,
    /// Its last command is LOCK.ACQUIRE.
    pub is_acquiring: bool,
    /// Its last command is EXEC.
    pub is_executing: bool,
}

impl Ending {
    /// Reads the client's line.
    pub fn read(line: &[u8]) -> Ending {
        let mut ending = Ending::default();
        read_fields(line, |name, value| match name {
            b"flags" => ending.is_marked = value.contains(&b'A') && !value.contains(&b'c'),
            b"obl" => ending.has_unsent = value != b"0",
            _ => {}
        });
        ending
    }
}

impl Activity {
    /// Reads the client's line.
    pub fn read(line: &[u8]) -> Activity {
        let mut activity = Activity::default();
        read_fields(line, |name, value| match name {
            b"flags" => {
                activity.is_blocked = value.contains(&b'b');
                activity.is_in_transaction = value.contains(&b'x');
            }
            b"argv-mem" => activity.has_arguments = value != b"0",
            b"cmd" => {
                activity.is_acquiring = value.eq_ignore_ascii_case(b"lock.acquire");
                activity.is_executing = value.eq_ignore_ascii_case(b"exec");
            }
            _ => {}
        });
        activity
    }
}

/// Calls `read` with the name and the value of each field.
fn read_fields(line: &[u8], mut read: impl FnMut(&[u8], &[u8])) {
    for field in line.split(|byte| byte.is_ascii_whitespace()) {
        let mut parts = field.splitn(2, |byte| *byte == b'=');
        if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            read(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_is_closed_may_be_marked_or_have_unsent_answers() {
        let ending = |line: &str| Ending::read(line.as_bytes());
        assert_eq!(ending("id=3 addr=1.2.3.4:5 flags=N obl=0 cmd=ping\n"), Ending::default());
        assert_eq!(ending("flags=A obl=0"), Ending { is_marked: true, has_unsent: false });
        assert_eq!(ending("flags=Ac obl=0"), Ending::default(), "to be closed after its last answer");
        assert_eq!(ending("flags=bA obl=17"), Ending { is_marked: true, has_unsent: true });
        assert_eq!(ending("flags=N obl=1"), Ending { is_marked: false, has_unsent: true });
    }

    #[test]
    fn a_line_that_says_nothing_has_the_defaults() {
        for line in ["", "\n", "flags", "obl", "flags= obl=0", "ERR no such client"] {
            assert_eq!(Ending::read(line.as_bytes()), Ending::default(), "{line}");
            assert_eq!(Activity::read(line.as_bytes()), Activity::default(), "{line}");
        }
    }

    #[test]
    fn what_a_client_does_is_read_in_any_case_and_from_its_own_fields() {
        let activity = |line: &str| Activity::read(line.as_bytes());
        let acquiring = activity("name=cmd=exec flags=N argv-mem=30 cmd=LOCK.acquire user=default");
        assert_eq!(acquiring, Activity { has_arguments: true, is_acquiring: true, ..Activity::default() });
        let executing = activity("flags=x argv-mem=10 cmd=EXEC");
        let expected =
            Activity { has_arguments: true, is_in_transaction: true, is_executing: true, ..Activity::default() };
        assert_eq!(executing, expected);
        assert_eq!(activity("flags=b argv-mem=0 cmd=blpop"), Activity { is_blocked: true, ..Activity::default() });
    }
}
