//! What happens when the server loads the module.

use std::ffi::{c_int, CStr};

use super::ffi::api::{RawCtx, RawString};
use super::ffi::command::{Audience, CommandRow};
use super::ffi::compat::Capabilities;
use super::ffi::load::{on_load, Module};
use super::ffi::strings::StringRef;
use super::ffi::{acl, clock, command, log, Ctx, Level};
use super::state::{self, module};
use super::{cluster_config, commands, events, info, migration, modules, settings, tick, timer, users, value};
use crate::policy::role::Role;

/// The only symbol the server looks for.
///
/// # Safety
/// Called by Redis with a live context and `argc` live strings.
#[allow(unsafe_code, reason = "the server calls it")]
#[no_mangle]
pub unsafe extern "C" fn RedisModule_OnLoad(ctx: *mut RawCtx, argv: *mut *mut RawString, argc: c_int) -> c_int {
    // SAFETY: passed on as it came.
    unsafe { on_load::<RedisLock>(ctx, argv, argc) }
}

struct RedisLock;

impl Module for RedisLock {
    const NAME: &'static CStr = c"redislock";
    const VERSION: c_int = 100;

    fn load(ctx: Ctx, args: &[StringRef]) -> Result<(), String> {
        load(ctx, args)
    }

    fn unload() {
        state::drop_engine();
    }
}

fn load(ctx: Ctx, args: &[StringRef]) -> Result<(), String> {
    let capabilities = Capabilities::detect(ctx);
    module().capabilities.set(capabilities);
    module().role.set(if ctx.flags().is_replica() { Role::Replica } else { Role::Primary });
    modules::refresh(ctx);
    timer::set_tick(tick::run);
    state::create_engine();
    // What the operator wrote comes first: a server does not take back events, timers and commands of a load that fails.
    settings::register(ctx, args)?;
    if ctx.flags().is_cluster() {
        state::with_engine(|engine| engine.join_cluster());
        cluster_config::watch(ctx);
    }
    ctx.set_options(capabilities.module_options());
    if !value::register(ctx) {
        return Err("the data type redislock was refused".into());
    }
    let category = acl::add_category(ctx, c"lock").then_some("lock");
    for row in commands::TABLE {
        create_command(ctx, row, category)?;
    }
    migration::subscribe(ctx);
    if !events::subscribe(ctx) || !info::register(ctx) {
        return Err("the server's events were refused".into());
    }
    if ctx.evicts_any_key() {
        log(
            Level::Warning,
            "maxmemory-policy is allkeys-*: under memory pressure the server evicts locks that are held; use noeviction or \
             a volatile-* policy",
        );
    }
    users::prepare();
    // Above every fence that a server of this data set may have given before: see src/lock/fence.rs.
    state::with_engine(|engine| engine.begin_term(clock::now()));
    state::with_inbox(|inbox| inbox.announce_fence = true);
    timer::kick();
    Ok(())
}

/// Creates a command and puts it into its ACL categories, of which `own` is the module's, if it has one.
fn create_command(ctx: Ctx, row: &CommandRow, own: Option<&str>) -> Result<(), String> {
    if !command::create(ctx, row) {
        return Err(format!("the command {:?} was refused", row.name));
    }
    let own = match row.audience {
        Audience::Clients => own,
        Audience::Internal => None,
    };
    let names: Vec<&str> = [row.categories].into_iter().chain(own).collect();
    if !acl::set_categories(ctx, row.name, &names.join(" ")) {
        return Err(format!("the ACL categories of {:?} were refused", row.name));
    }
    Ok(())
}
