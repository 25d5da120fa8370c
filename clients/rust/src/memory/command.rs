//! Commands to a server in memory.

use std::time::Duration;

use redis::{Arg, Cmd, Value};

use crate::error::ServerError;

pub(super) type Key = Vec<u8>;
pub(super) type OwnerName = Vec<u8>;

/// What a command returns.
pub(super) type Outcome = Result<Value, ServerError>;

/// The lease of a request that names none.
pub(super) const LEASE_DEFAULT: Duration = Duration::from_secs(30);

/// The options of all commands.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub lease: Option<Duration>,
    /// Zero waits without limit.
    pub block: Option<Duration>,
    pub is_shared: bool,
    /// 0: none.
    pub limit: u32,
    pub weight: u32,
    pub session: bool,
    pub max: Option<Duration>,
    pub delay: Option<Duration>,
    pub fence: Option<i64>,
    pub raise: Option<i64>,
    pub cool: Option<Duration>,
    pub downgrade: bool,
    /// The command is one of those for several keys.
    pub is_multiple: bool,
}

/// A command with its arguments.
pub(super) struct Command {
    /// Without `LOCK.`, and without the `M` of the commands for several keys.
    pub name: String,
    pub keys: Vec<Key>,
    pub owner: OwnerName,
    pub options: Options,
    /// The arguments of LOCK.LIST.
    pub pattern: Option<Vec<u8>>,
}

impl Command {
    pub fn parse(cmd: &Cmd) -> Result<Command, ServerError> {
        let args = cmd.args_iter().filter_map(|arg| match arg {
            Arg::Simple(bytes) => Some(bytes.to_vec()),
            _ => None,
        });
        let mut args = args.collect::<Vec<_>>().into_iter();
        let whole = text(&args.next().unwrap_or_default()).to_uppercase();
        let name = whole.strip_prefix("LOCK.").unwrap_or(&whole);
        let (name, is_multiple) = match name {
            "MACQUIRE" | "MRELEASE" | "MEXTEND" => (name.get(1..).unwrap_or(name), true),
            name => (name, false),
        };
        let options = Options { is_multiple, weight: 1, ..Options::default() };
        let mut command =
            Command { name: name.to_owned(), keys: Vec::new(), owner: Vec::new(), options, pattern: None };
        match command.name.as_str() {
            "ACQUIRE" | "RELEASE" | "EXTEND" | "CHECK" => {
                let count = if is_multiple { number(args.next())? } else { 1 };
                for _ in 0..count {
                    command.keys.push(args.next().ok_or_else(too_few)?);
                }
                command.owner = args.next().ok_or_else(too_few)?;
            }
            "INFO" => command.keys.push(args.next().ok_or_else(too_few)?),
            "LIST" => drop(args.next()),
            _ => return Ok(command),
        }
        command.parse_options(args)?;
        Ok(command)
    }

    fn parse_options(&mut self, mut args: impl Iterator<Item = Vec<u8>>) -> Result<(), ServerError> {
        while let Some(option) = args.next() {
            let options = &mut self.options;
            let mut millis = || Ok::<_, ServerError>(Some(Duration::from_millis(number(args.next())?)));
            match text(&option).to_uppercase().as_str() {
                "PX" => options.lease = millis()?,
                "BLOCK" => options.block = millis()?,
                "MAX" => options.max = millis()?,
                "DELAY" => options.delay = millis()?,
                "COOL" => options.cool = millis()?,
                "SHARED" => options.is_shared = true,
                "SESSION" => options.session = true,
                "DOWNGRADE" => options.downgrade = true,
                "LIMIT" => options.limit = number(args.next())?,
                "WEIGHT" => options.weight = number(args.next())?,
                "FENCE" => options.fence = Some(number(args.next())?),
                "RAISE" => options.raise = Some(number(args.next())?),
                "COUNT" => drop(args.next()),
                "MATCH" => self.pattern = args.next(),
                "OWNER" => self.owner = args.next().unwrap_or_default(),
                other => return Err(ServerError::new("ERR", Some(&format!("unknown option {other}")))),
            }
        }
        Ok(())
    }
}

/// Whether the text matches a pattern in which `*` stands for any text and `?` for any byte.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=text.len()).any(|n| text.get(n..).is_some_and(|text| matches(rest, text))),
        (Some((b'?', rest)), Some((_, text))) => matches(rest, text),
        (Some((byte, rest)), Some((other, text))) => byte == other && matches(rest, text),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn number<T: std::str::FromStr>(argument: Option<Vec<u8>>) -> Result<T, ServerError> {
    let argument = text(&argument.ok_or_else(too_few)?);
    argument.parse().map_err(|_| ServerError::new("ERR", Some(&format!("not a number in range: {argument}"))))
}

fn too_few() -> ServerError {
    ServerError::new("ERR", Some("wrong number of arguments"))
}
