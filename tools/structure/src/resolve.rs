//! Which modules use which: paths, followed through imports and re-exports to the file that defines the item.

use std::collections::{BTreeMap, BTreeSet};

use crate::names::{Import, Namespace};
use crate::source::Source;

/// The uses of other files: by the index of the file that uses, and of the file that is used.
pub type Uses = BTreeMap<(usize, usize), Use>;

/// How one file uses another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The first line that does, from 1.
    pub line: usize,
    /// The path on that line, as it is written.
    pub path: String,
    /// A module in the file that uses.
    pub user: usize,
    /// A module in the file that is used.
    pub used: usize,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// A module.
    Module(usize),
    /// An item that this module defines.
    Item(usize),
}

impl Found {
    fn module(self) -> usize {
        match self {
            Found::Module(module) | Found::Item(module) => module,
        }
    }
}

/// All uses between the files of a crate, without those by and of test code.
pub fn uses(source: &Source) -> Uses {
    let mut uses = Uses::new();
    for (user, module) in source.modules.iter().enumerate().filter(|(_, module)| !module.is_test) {
        let mut add = |found: Found, path: &[String], line: usize| {
            let used = found.module();
            let Some(other) = source.modules.get(used).filter(|other| !other.is_test) else { return };
            if other.file == module.file {
                return;
            }
            let entry = uses.entry((module.file, other.file));
            let first = entry.or_insert_with(|| Use { line, path: path.join("::"), user, used });
            if line < first.line {
                *first = Use { line, path: path.join("::"), user, used };
            }
        };
        for import in module.names.imports.iter().filter(|import| !shows_inner(source, user, import)) {
            let namespace = if import.name.is_some() { Namespace::Any } else { Namespace::Types };
            for found in used_by_path(source, user, &import.path, namespace) {
                add(found, &import.path, import.line);
            }
        }
        for reference in &module.names.references {
            for found in used_by_path(source, user, &reference.path, reference.namespace) {
                add(found, &reference.path, reference.line);
            }
        }
    }
    uses
}

/// What a path in a module uses: the item that it leads to, and the module that it takes the item from, which may have
/// re-exported it. A module around the user is not counted for a re-export, so that a child may take items of other
/// children from its parent.
fn used_by_path(source: &Source, user: usize, path: &[String], namespace: Namespace) -> BTreeSet<Found> {
    let mut used = Resolver::new(source).resolve(user, path, namespace);
    if let [folder @ .., _] = path {
        let from = Resolver::new(source).resolve(user, folder, Namespace::Types);
        used.extend(from.into_iter().filter(|from| !source.is_inside(user, from.module())));
    }
    used
}

/// Whether a declaration re-exports something from inside the module itself. The module does not use it thereby.
fn shows_inner(source: &Source, module: usize, import: &Import) -> bool {
    let folder = match (&import.name, import.path.as_slice()) {
        (Some(_), [folder @ .., _]) => folder,
        (_, path) => path,
    };
    let found = Resolver::new(source).resolve(module, folder, Namespace::Types);
    import.is_re_export && found.iter().any(|found| source.is_inside(found.module(), module))
}

/// Follows a path.
struct Resolver<'a> {
    source: &'a Source,
    /// The names that are being looked up, so that imports of each other end.
    pending: Vec<(usize, String, Namespace)>,
}

impl<'a> Resolver<'a> {
    fn new(source: &'a Source) -> Resolver<'a> {
        Resolver { source, pending: Vec::new() }
    }

    /// What a path in `module` leads to; nothing if it leads to another crate.
    fn resolve(&mut self, module: usize, path: &[String], namespace: Namespace) -> BTreeSet<Found> {
        let [first, rest @ ..] = path else { return BTreeSet::new() };
        let namespace_of = |rest: &[String]| if rest.is_empty() { namespace } else { Namespace::Types };
        let parent = |module: usize| self.source.modules.get(module).and_then(|module| module.parent);
        let start = match first.as_str() {
            "crate" => BTreeSet::from([Found::Module(0)]),
            "self" => BTreeSet::from([Found::Module(module)]),
            "super" => parent(module).map(Found::Module).into_iter().collect(),
            name => {
                let found = self.look_up(module, name, namespace_of(rest));
                if found.is_empty() && rest.is_empty() && namespace == Namespace::Macros {
                    self.macros(name)
                } else {
                    found
                }
            }
        };
        self.walk(start, rest, namespace)
    }

    /// Follows the rest of a path.
    fn walk(&mut self, start: BTreeSet<Found>, rest: &[String], namespace: Namespace) -> BTreeSet<Found> {
        let [name, rest @ ..] = rest else { return start };
        let mut next = BTreeSet::new();
        for found in start {
            let Found::Module(module) = found else {
                // A variant, or a function of a type.
                next.insert(found);
                continue;
            };
            if name == "super" {
                next.extend(self.source.modules.get(module).and_then(|module| module.parent).map(Found::Module));
                continue;
            }
            let inner = self.look_up(module, name, if rest.is_empty() { namespace } else { Namespace::Types });
            if inner.is_empty() {
                // A macro made the item, or the module shows it from another crate.
                next.insert(Found::Item(module));
            }
            next.extend(inner);
        }
        self.walk(next, rest, namespace)
    }

    /// What a name means in a module; nothing if it comes from another crate or is a variable.
    fn look_up(&mut self, module: usize, name: &str, namespace: Namespace) -> BTreeSet<Found> {
        let entry = (module, name.to_owned(), namespace);
        if self.pending.contains(&entry) {
            return BTreeSet::new();
        }
        self.pending.push(entry);
        let found = self.look_up_once(module, name, namespace);
        self.pending.pop();
        found
    }

    fn look_up_once(&mut self, module: usize, name: &str, namespace: Namespace) -> BTreeSet<Found> {
        let mut found = BTreeSet::new();
        let source = self.source;
        let Some(names) = source.modules.get(module).map(|module| &module.names) else { return found };
        if names.definitions.iter().any(|(defined, space)| defined == name && space.meets(namespace)) {
            found.insert(Found::Item(module));
        }
        if namespace.meets(Namespace::Types) {
            found.extend(source.child(module, name).map(Found::Module));
        }
        for import in names.imports.iter().filter(|import| import.name.as_deref() == Some(name)) {
            found.extend(self.resolve(module, &import.path, namespace));
        }
        if !found.is_empty() {
            return found;
        }
        for import in names.imports.iter().filter(|import| import.name.is_none()) {
            for from in self.resolve(module, &import.path, Namespace::Types) {
                if let Found::Module(from) = from {
                    found.extend(self.look_up(from, name, namespace));
                }
            }
        }
        found
    }

    /// The macros of this name: such a name is known to all code below it in the order of the files.
    fn macros(&self, name: &str) -> BTreeSet<Found> {
        let defines = |module: usize| {
            let names = self.source.modules.get(module).map(|module| &module.names);
            names.is_some_and(|names| names.definitions.iter().any(|it| it.0 == name && it.1 == Namespace::Macros))
        };
        (0..self.source.modules.len()).filter(|module| defines(*module)).map(Found::Item).collect()
    }
}
