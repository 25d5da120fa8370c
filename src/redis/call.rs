//! Runs a command: from its arguments to its reply.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::ffi::command::OnCommand;
use super::ffi::guard::guard;
use super::ffi::strings::StringRef;
use super::ffi::Ctx;
use super::key::{KeysOfCommand, OpenKey, ReadKey};
use super::state::{self, module};
use super::waiting_client::BlockedClient;
use super::{notify, reply, timer};
use crate::engine::{Engine, Events, Found, KeyEvent, KeyRef, Stored, WrongType};
use crate::lock::{Fence, Owner};
use crate::wire::errors::{self, PANICKED, READ_ONLY, WRONG_TYPE};
use crate::wire::{KeysFirst, Leases, ARGS_MAX, WORDS_MAX as WORDS_OF_MANY_KEYS};

/// The reply of a command that is not refused.
pub enum Answer {
    /// A number.
    Integer(u64),
    /// Null.
    Null,
    /// The owner that the server made for the request, and the fence of its grant.
    Granted {
        /// The owner.
        made_owner: Owner,
        /// The fence.
        fence: Fence,
    },
    /// What LOCK.CHECK answers about a hold.
    Checked {
        /// Its fence.
        fence: u64,
        /// How many milliseconds are left of its lease.
        ttl_ms: u64,
        /// How many clients wait, if that was asked for.
        waiters: Option<usize>,
    },
    /// OK.
    Ok,
    /// The client waits and is answered later, or it was answered already.
    Nothing,
}

/// Why a command is refused.
pub enum Refusal {
    /// It has too few arguments or too many.
    Arity,
    /// An error text, which begins with its code.
    Text(Cow<'static, str>),
}

impl Answer {
    /// 1 if the owner held the lock, else 0.
    pub fn held(held: bool) -> Answer {
        Answer::Integer(u64::from(held))
    }
}

impl From<errors::BadRequest> for Refusal {
    fn from(bad: errors::BadRequest) -> Refusal {
        match bad {
            errors::BadRequest::Arity => Refusal::Arity,
            bad => Refusal::Text(bad.to_string().into()),
        }
    }
}

impl From<WrongType> for Refusal {
    fn from(_: WrongType) -> Refusal {
        Refusal::Text(WRONG_TYPE.into())
    }
}

impl From<errors::Refused> for Refusal {
    fn from(refused: errors::Refused) -> Refusal {
        Refusal::Text(refused.to_string().into())
    }
}

impl From<&'static str> for Refusal {
    fn from(text: &'static str) -> Refusal {
        Refusal::Text(text.into())
    }
}

/// The result of a command.
pub type Answered = Result<Answer, Refusal>;

/// A command of the module.
pub trait Handler {
    /// Its name, for the log.
    const NAME: &'static str;

    /// Runs the command. The reply follows from what it returns.
    fn handle(call: &Call) -> Answered;
}

/// One run of a command.
pub struct Call<'a> {
    /// Its context.
    pub ctx: Ctx,
    key: StringRef<'a>,
    /// All strings of the command, from its name on.
    pub argv: &'a [StringRef<'a>],
    /// Its key.
    pub at: KeyRef<'a>,
    /// The arguments after the key. If there are more than any command reads, the rest is left out.
    pub args: &'a [&'a [u8]],
    /// The arguments of a command without a key, or as many of them as any command reads.
    pub words: &'a [&'a [u8]],
    /// Whether it runs inside another command of this module: that command sent an event, and on the event another module
    /// called this command.
    pub is_nested: bool,
}

impl Call<'_> {
    /// Opens the key for writing.
    #[inline]
    pub fn open(&self) -> OpenKey<'_> {
        OpenKey::open_for_command(self.ctx, self.key)
    }

    /// Notifies subscribers of what happened to the key, which must be closed.
    pub fn notify(&self, events: &[KeyEvent]) {
        notify::notify_of_command(self.ctx, self.key, events);
    }

    /// Reads the lock at the key, if there is one, and how many milliseconds are left of the key's TTL, if somebody set one.
    /// Changes nothing.
    pub fn read<R>(&self, read: impl FnOnce(Option<(&Stored, Option<u64>)>) -> R) -> Result<R, WrongType> {
        let key = ReadKey::open(self.ctx, self.key);
        if key.found() == Found::Other {
            return Err(WrongType);
        }
        Ok(read(key.stored().map(|stored| (stored, key.ttl_ms()))))
    }

    /// Which leases may be asked for now.
    pub fn leases(&self) -> Result<Leases, Refusal> {
        state::with_engine(|engine| engine.settings().leases()).ok_or_else(|| PANICKED.into())
    }

    /// Refuses a command that changes locks if this server is a replica.
    pub fn check_role(&self) -> Result<(), Refusal> {
        if !module().role.get().may_decide() {
            return Err(READ_ONLY.into());
        }
        Ok(())
    }

    /// The keys of a command that names their number first.
    pub fn keys(&self) -> Result<CallKeys<'_>, Refusal> {
        let first = KeysFirst::parse(self.words)?;
        let names = first.keys.iter().map(|name| KeyRef { db: self.at.db, name }).collect();
        let strings = self.argv.get(2..2 + first.keys.len()).unwrap_or_default();
        Ok(CallKeys { names, strings, args: first.args })
    }

    /// Runs a command that changes holds at several keys. `step` returns how many of the locks the owner held.
    pub fn change_all(
        &self,
        keys: &CallKeys,
        step: impl FnOnce(&mut Engine<BlockedClient>, &[KeyRef], &mut KeysOfCommand) -> Result<usize, WrongType>,
    ) -> Answered {
        let (held, events) = state::with_engine(|engine| {
            let held = step(engine, &keys.names, &mut keys.to_open(self))?;
            timer::arm(self.ctx, engine.first_deadline());
            Ok::<_, Refusal>((held, engine.take_filed_events()))
        })
        .ok_or(PANICKED)??;
        notify::notify_of_keys(self.ctx, events);
        Ok(Answer::Integer(held as u64))
    }

    /// Runs a command that changes a hold.
    pub fn change(
        &self,
        step: impl FnOnce(&mut Engine<BlockedClient>, &mut OpenKey) -> Result<Answered, WrongType>,
    ) -> Answered {
        let mut events = Events::new();
        let answered = state::with_engine(|engine| {
            let answered = step(engine, &mut self.open())?;
            timer::arm(self.ctx, engine.first_deadline());
            events = engine.take_events();
            Ok::<_, Refusal>(answered)
        })
        .ok_or(PANICKED)??;
        self.notify(&events);
        answered
    }
}

/// The keys of a command with several, and what follows them.
pub struct CallKeys<'a> {
    /// Their names.
    pub names: SmallVec<[KeyRef<'a>; 8]>,
    strings: &'a [StringRef<'a>],
    /// The arguments after the keys. If there are more than any command reads, the rest is left out.
    pub args: &'a [&'a [u8]],
}

impl CallKeys<'_> {
    /// The keys, to be opened.
    pub fn to_open<'a>(&'a self, call: &Call) -> KeysOfCommand<'a> {
        KeysOfCommand::new(call.ctx, self.strings)
    }
}

impl<H: Handler> OnCommand for H {
    fn run(ctx: Ctx, argv: &[StringRef]) {
        run(ctx, argv, H::NAME, H::handle);
    }
}

/// Reads the arguments, runs the command and replies. If the command panics, the client gets an error.
fn run(ctx: Ctx, argv: &[StringRef], what: &str, handle: fn(&Call) -> Answered) {
    let is_nested = module().command.is_set();
    let run = || {
        // Most commands have few words, and need not make room for many.
        let answered = if argv.len() <= WORDS_FEW + 1 {
            run_with::<WORDS_FEW>(ctx, argv, is_nested, handle)
        } else if argv.len() <= ARGS_MAX + 2 {
            run_with::<{ ARGS_MAX + 1 }>(ctx, argv, is_nested, handle)
        } else {
            run_with::<WORDS_OF_MANY_KEYS>(ctx, argv, is_nested, handle)
        };
        answer(ctx, answered);
        true
    };
    let is_answered = module().command.during(|| guard(what, false, run));
    if !is_answered {
        // The handler panicked, so there is no reply yet: nothing that follows the handler can panic.
        guard("answering", (), || ctx.reply_error(PANICKED));
    }
}

/// The words of a request to acquire a lock for some time, from the key on: `key owner PX ms`.
const WORDS_FEW: usize = 4;

/// Runs the command with at most so many words.
fn run_with<const WORDS_MAX: usize>(
    ctx: Ctx,
    argv: &[StringRef],
    is_nested: bool,
    handle: fn(&Call) -> Answered,
) -> Answered {
    let key = argv.get(1).copied().unwrap_or(StringRef::NONE);
    let mut words: [&[u8]; WORDS_MAX] = [&[]; WORDS_MAX];
    let mut count = 0;
    for (slot, word) in words.iter_mut().zip(argv.iter().skip(1)) {
        *slot = word.bytes();
        count += 1;
    }
    let words = words.get(..count).unwrap_or_default();
    let (name, args) = words.split_first().map_or((&[][..], &[][..]), |(name, args)| (*name, args));
    handle(&Call { ctx, key, argv, at: KeyRef { db: ctx.db(), name }, args, words, is_nested })
}

#[inline]
fn answer(ctx: Ctx, answered: Answered) {
    match answered {
        Ok(Answer::Integer(number)) => ctx.reply_integer(number),
        Ok(Answer::Null) => ctx.reply_null(),
        Ok(Answer::Granted { made_owner, fence }) => reply::grant(ctx, Some(made_owner.as_bytes()), fence),
        Ok(Answer::Checked { fence, ttl_ms, waiters }) => reply::check(ctx, fence, ttl_ms, waiters),
        Ok(Answer::Ok) => ctx.reply_ok(),
        Ok(Answer::Nothing) => {}
        Err(Refusal::Arity) => ctx.reply_wrong_arity(),
        Err(Refusal::Text(text)) => ctx.reply_error(&text),
    }
}
