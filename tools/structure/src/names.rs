//! The names that a module defines, imports and uses.

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::{Fields, ForeignItem, Item};

/// The names of a module. Names in code for tests only are left out.
#[derive(Default)]
pub struct Names {
    /// Names of its items, each with the namespace that it stands in.
    pub definitions: Vec<(String, Namespace)>,
    /// Its `use` declarations, a name each.
    pub imports: Vec<Import>,
    /// Paths in its code.
    pub references: Vec<Reference>,
}

/// One of Rust's namespaces: a function and a module may have the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// Types, traits and modules.
    Types,
    /// Functions, constants, statics, and the constructors of tuple structs.
    Values,
    /// Macros.
    Macros,
    /// All of them: what a `use` imports, or a name of which the namespace is not known.
    Any,
}

impl Namespace {
    /// Whether a name in this namespace can be meant by one in the other.
    pub fn meets(self, other: Namespace) -> bool {
        self == other || self == Namespace::Any || other == Namespace::Any
    }
}

/// A name that a `use` declaration imports.
pub struct Import {
    /// The name under which it can be used in the module; `None` for a glob.
    pub name: Option<String>,
    /// The path that it is imported from. Never empty.
    pub path: Vec<String>,
    /// Whether other modules may use it from here: `pub use`, `pub(crate) use` and the like.
    pub is_re_export: bool,
    /// The line, from 1.
    pub line: usize,
}

/// A path in the code of a module.
pub struct Reference {
    /// Its segments. Never empty.
    pub path: Vec<String>,
    /// The namespace of its last segment.
    pub namespace: Namespace,
    /// The line, from 1.
    pub line: usize,
}

/// The names that an item adds to its module.
pub fn defined_names(item: &Item) -> Vec<(String, Namespace)> {
    use Namespace::*;
    let one = |name: &Ident, namespace| vec![(name.to_string(), namespace)];
    match item {
        Item::Const(item) => one(&item.ident, Values),
        Item::Enum(item) => one(&item.ident, Types),
        Item::Fn(item) => one(&item.sig.ident, Values),
        Item::ForeignMod(item) => item.items.iter().filter_map(foreign_name).collect(),
        Item::Macro(item) => match &item.ident {
            Some(name) => one(name, Macros),
            None => names_in_macro(&item.mac.tokens),
        },
        Item::Static(item) => one(&item.ident, Values),
        Item::Struct(item) => match item.fields {
            Fields::Named(_) => one(&item.ident, Types),
            Fields::Unnamed(_) | Fields::Unit => one(&item.ident, Any),
        },
        Item::Trait(item) => one(&item.ident, Types),
        Item::TraitAlias(item) => one(&item.ident, Types),
        Item::Type(item) => one(&item.ident, Types),
        Item::Union(item) => one(&item.ident, Types),
        _ => Vec::new(),
    }
}

/// The name of an item of an `extern` block.
fn foreign_name(item: &ForeignItem) -> Option<(String, Namespace)> {
    match item {
        ForeignItem::Fn(item) => Some((item.sig.ident.to_string(), Namespace::Values)),
        ForeignItem::Static(item) => Some((item.ident.to_string(), Namespace::Values)),
        ForeignItem::Type(item) => Some((item.ident.to_string(), Namespace::Types)),
        _ => None,
    }
}

/// The names that items inside a macro's arguments seem to define, as in `thread_local! { static NAME: ... }`.
fn names_in_macro(tokens: &TokenStream) -> Vec<(String, Namespace)> {
    const KEYWORDS: [&str; 8] = ["const", "enum", "fn", "static", "struct", "trait", "type", "union"];
    let mut names = Vec::new();
    let mut is_after_keyword = false;
    for token in tokens.clone() {
        let TokenTree::Ident(ident) = token else {
            is_after_keyword = false;
            continue;
        };
        if is_after_keyword && ident != "mut" {
            names.push((ident.to_string(), Namespace::Any));
        }
        is_after_keyword = KEYWORDS.iter().any(|keyword| ident == keyword) || (is_after_keyword && ident == "mut");
    }
    names
}
