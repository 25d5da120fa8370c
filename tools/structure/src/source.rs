//! The modules of a crate, read from its files.

use std::fs;
use std::path::{Path, PathBuf};

use syn::{Attribute, Expr, Item, ItemMod, Lit, Meta};

use crate::collector::Collector;
use crate::names::{defined_names, Names};
use crate::test_code::is_test_only;

/// A crate: its modules and the files that they stand in.
pub struct Source {
    /// All modules. The first one is the crate's root.
    pub modules: Vec<Module>,
    /// The files that `mod` declarations lead to, relative to the repository's root. Each stands here once.
    pub files: Vec<String>,
}

/// A module: a file, or a block inside one.
pub struct Module {
    /// The last part of its path; empty for the crate's root.
    pub name: String,
    /// The index of the module around it in [`Source::modules`]; `None` for the crate's root.
    pub parent: Option<usize>,
    /// The index of its file in [`Source::files`].
    pub file: usize,
    /// Whether it is compiled for tests only.
    pub is_test: bool,
    /// The names that it defines, imports and uses.
    pub names: Names,
}

impl Source {
    /// Reads the crate in `folder`, which is relative to `root`. The error is a message for the user.
    pub fn read(root: &Path, folder: &str, test_cfgs: &[String]) -> Result<Source, String> {
        let mut reader = Reader { root, test_cfgs, source: Source { modules: Vec::new(), files: Vec::new() } };
        let file = ["lib.rs", "main.rs"].map(|name| format!("{folder}/{name}"));
        let Some(file) = file.into_iter().find(|file| root.join(file).is_file()) else {
            return Err(format!("{folder}: there is neither lib.rs nor main.rs"));
        };
        reader.read_file(&file, Path::new(folder), String::new(), None, false)?;
        Ok(reader.source)
    }

    /// The path of a module, such as `redis/commands`; empty for the crate's root.
    pub fn path(&self, module: usize) -> String {
        let Some(Module { name, parent: Some(parent), .. }) = self.modules.get(module) else { return String::new() };
        match self.path(*parent) {
            path if path.is_empty() => name.clone(),
            path => format!("{path}/{name}"),
        }
    }

    /// Whether `inner` stands inside `outer`, at any depth.
    pub fn is_inside(&self, inner: usize, outer: usize) -> bool {
        match self.modules.get(inner).and_then(|module| module.parent) {
            Some(parent) => parent == outer || self.is_inside(parent, outer),
            None => false,
        }
    }

    /// The module directly inside `parent` that has this name.
    pub fn child(&self, parent: usize, name: &str) -> Option<usize> {
        self.modules.iter().position(|module| module.parent == Some(parent) && module.name == name)
    }

    /// The file that a module stands in.
    pub fn file(&self, module: usize) -> &str {
        let file = self.modules.get(module).and_then(|module| self.files.get(module.file));
        file.map(String::as_str).unwrap_or_default()
    }
}

/// What is needed to read a crate.
struct Reader<'a> {
    root: &'a Path,
    test_cfgs: &'a [String],
    source: Source,
}

impl Reader<'_> {
    /// Reads the module in `file`. The files of the modules inside it stand in `folder`.
    fn read_file(
        &mut self,
        file: &str,
        folder: &Path,
        name: String,
        parent: Option<usize>,
        is_test: bool,
    ) -> Result<(), String> {
        let text = fs::read_to_string(self.root.join(file)).map_err(|error| format!("{file}: {error}"))?;
        let parsed = syn::parse_file(&text).map_err(|error| {
            let line = error.span().start().line;
            format!("{file}:{line}: the file cannot be parsed: {error}")
        })?;
        let is_test = is_test || is_test_only(&parsed.attrs, self.test_cfgs);
        // Declarations under different conditions may lead to the same file.
        let known = self.source.files.iter().position(|known| known == file);
        let file = known.unwrap_or_else(|| {
            self.source.files.push(file.to_owned());
            self.source.files.len() - 1
        });
        self.add_module(Module { name, parent, file, is_test, names: Names::default() }, &parsed.items, folder)
    }

    /// Adds a module with these items, and the modules inside it.
    fn add_module(&mut self, mut module: Module, items: &[Item], folder: &Path) -> Result<(), String> {
        let mut collector = Collector::new(self.test_cfgs);
        for item in items.iter().filter(|item| !matches!(item, Item::Mod(_))) {
            module.names.definitions.extend(defined_names(item));
            collector.read(item);
        }
        collector.finish(&mut module.names);

        let (file, is_test) = (module.file, module.is_test);
        let parent = self.source.modules.len();
        self.source.modules.push(module);
        for item in items {
            if let Item::Mod(inner) = item {
                let is_test = is_test || inner.ident == "tests" || is_test_only(&inner.attrs, self.test_cfgs);
                self.add_inner(inner, parent, file, is_test, folder)?;
            }
        }
        Ok(())
    }

    /// Adds a module that a `mod` declaration in the module `parent` leads to.
    fn add_inner(
        &mut self,
        inner: &ItemMod,
        parent: usize,
        file: usize,
        is_test: bool,
        folder: &Path,
    ) -> Result<(), String> {
        let name = inner.ident.to_string().trim_start_matches("r#").to_owned();
        let below = folder.join(&name);
        if let Some((_, items)) = &inner.content {
            let module = Module { name, parent: Some(parent), file, is_test, names: Names::default() };
            return self.add_module(module, items, &below);
        }
        let declared_in = self.source.files.get(file).cloned().unwrap_or_default();
        let candidates = match path_attribute(&inner.attrs) {
            Some(path) => {
                let path = Path::new(&declared_in).with_file_name(path);
                let inside = path.parent().unwrap_or(Path::new("")).to_owned();
                vec![(path, inside)]
            }
            None => vec![(folder.join(format!("{name}.rs")), below.clone()), (below.join("mod.rs"), below)],
        };
        let exists = |(file, _): &(PathBuf, PathBuf)| self.root.join(file).is_file();
        let Some((path, inside)) = candidates.into_iter().find(exists) else {
            let line = inner.ident.span().start().line;
            return Err(format!("{declared_in}:{line}: there is no file for `mod {name};`"));
        };
        let path = path.to_string_lossy().replace('\\', "/");
        self.read_file(&path, &inside, name, Some(parent), is_test)
    }
}

/// The value of `#[path = "..."]`.
fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    })
}
