//! Collects the names that the code of a module imports and uses.

use std::collections::HashSet;

use proc_macro2::{Delimiter, Ident, Spacing, Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ExprPath, Field, ImplItem, Item, ItemUse, Macro, PatIdent, Path, Stmt, TraitItem, TypePath};
use syn::{UseTree, Variant, VisRestricted, Visibility};

use crate::names::{Import, Names, Namespace, Reference};
use crate::test_code::{
    impl_item_attributes, is_test_only, item_attributes, statement_attributes, trait_item_attributes,
};

/// Collects the names that the items of a module import and use.
pub struct Collector<'a> {
    test_cfgs: &'a [String],
    imports: Vec<Import>,
    references: Vec<Reference>,
    /// Names of variables: a path of one of these alone is not taken for a function of that name.
    variables: HashSet<String>,
}

impl<'a> Collector<'a> {
    /// A collector that leaves out code that is compiled only under one of these conditions.
    pub fn new(test_cfgs: &'a [String]) -> Collector<'a> {
        Collector { test_cfgs, imports: Vec::new(), references: Vec::new(), variables: HashSet::new() }
    }

    /// Reads an item of the module.
    pub fn read(&mut self, item: &Item) {
        self.visit_item(item);
    }

    /// Adds what was collected to the names of the module.
    pub fn finish(self, names: &mut Names) {
        let Collector { imports, references, variables, .. } = self;
        names.imports.extend(imports);
        names.references.extend(references.into_iter().filter(|reference| match reference.path.as_slice() {
            [name] => reference.namespace == Namespace::Macros || !variables.contains(name),
            _ => true,
        }));
    }

    fn is_test(&self, attributes: &[Attribute]) -> bool {
        is_test_only(attributes, self.test_cfgs)
    }

    fn add_path(&mut self, path: &Path, namespace: Namespace) {
        // `::name::...` names another crate.
        if path.leading_colon.is_none() {
            self.add(path.segments.iter().map(|segment| &segment.ident), namespace);
        }
    }

    fn add<'i>(&mut self, idents: impl IntoIterator<Item = &'i Ident>, namespace: Namespace) {
        let mut line = None;
        let path: Vec<String> = idents
            .into_iter()
            .map(|ident| {
                line.get_or_insert(line_of(ident.span()));
                plain(ident)
            })
            .collect();
        if let Some(line) = line {
            self.references.push(Reference { path, namespace, line });
        }
    }

    /// Adds what a tree of a `use` declaration imports.
    fn add_imports(&mut self, tree: &UseTree, prefix: &[String], is_re_export: bool) {
        let mut add = |name: Option<String>, path: Vec<String>, line| {
            if !path.is_empty() {
                self.imports.push(Import { name, path, is_re_export, line });
            }
        };
        let with = |ident: &Ident| -> Vec<String> {
            // `path::{self}` is `path`.
            let last = (ident != "self" || prefix.is_empty()).then(|| plain(ident));
            prefix.iter().cloned().chain(last).collect()
        };
        match tree {
            UseTree::Path(tree) => self.add_imports(&tree.tree, &with(&tree.ident), is_re_export),
            UseTree::Name(tree) => {
                let path = with(&tree.ident);
                add(path.last().cloned(), path, line_of(tree.ident.span()));
            }
            UseTree::Rename(tree) => add(Some(plain(&tree.rename)), with(&tree.ident), line_of(tree.ident.span())),
            UseTree::Glob(tree) => add(None, prefix.to_vec(), line_of(tree.star_token.spans[0])),
            UseTree::Group(tree) => {
                for tree in &tree.items {
                    self.add_imports(tree, prefix, is_re_export);
                }
            }
        }
    }

    /// Adds the paths in the arguments of a macro, whose grammar is not known.
    fn add_tokens(&mut self, tokens: &TokenStream) {
        let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
        let mut rest = tokens.as_slice();
        let mut before = String::new();
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            match first {
                TokenTree::Group(group) => self.add_tokens(&group.stream()),
                TokenTree::Ident(ident) => {
                    let mut path = vec![ident];
                    while let [TokenTree::Punct(a), TokenTree::Punct(b), TokenTree::Ident(next), after @ ..] = rest {
                        if (a.as_char(), b.as_char()) != (':', ':') {
                            break;
                        }
                        path.push(next);
                        rest = after;
                    }
                    self.add_token_path(&path, &before, rest.first());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            match first {
                TokenTree::Punct(punct) => before.push(punct.as_char()),
                _ => before.clear(),
            }
        }
    }

    /// Adds a path in the arguments of a macro, given the punctuation before it and the token after it.
    fn add_token_path(&mut self, path: &[&Ident], before: &str, after: Option<&TokenTree>) {
        let [first, others @ ..] = path else { return };
        // The rest of a path, a lifetime, a field or method, or a variable of the macro.
        let is_part = before.ends_with("::")
            || before.ends_with('\'')
            || (before.ends_with('.') && !before.ends_with(".."))
            || (before.ends_with('$') && *first != "crate");
        let (is_macro, is_call) = match after {
            // `name!`, but not `name != other`.
            Some(TokenTree::Punct(punct)) => (punct.as_char() == '!' && punct.spacing() == Spacing::Alone, false),
            Some(TokenTree::Group(group)) => (false, group.delimiter() == Delimiter::Parenthesis),
            _ => (false, false),
        };
        if !is_part && (!others.is_empty() || is_macro || is_call || is_capitalized(first)) {
            let namespace = if is_macro { Namespace::Macros } else { Namespace::Any };
            self.add(path.iter().copied(), namespace);
        }
    }

    fn visit_arguments(&mut self, path: &Path) {
        for segment in &path.segments {
            self.visit_path_arguments(&segment.arguments);
        }
    }
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !self.is_test(item_attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if !self.is_test(impl_item_attributes(item)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        if !self.is_test(trait_item_attributes(item)) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast Field) {
        if !self.is_test(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &'ast Variant) {
        if !self.is_test(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        if !self.is_test(statement_attributes(statement)) {
            visit::visit_stmt(self, statement);
        }
    }

    /// Attributes name no module of the crate.
    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    /// `pub(super)` uses nothing.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if item.leading_colon.is_none() {
            self.add_imports(&item.tree, &[], !matches!(item.vis, Visibility::Inherited));
        }
    }

    fn visit_pat_ident(&mut self, pattern: &'ast PatIdent) {
        if is_capitalized(&pattern.ident) {
            // A constant to compare with.
            self.add([&pattern.ident], Namespace::Values);
        } else {
            self.variables.insert(plain(&pattern.ident));
        }
        visit::visit_pat_ident(self, pattern);
    }

    fn visit_expr_path(&mut self, expression: &'ast ExprPath) {
        match &expression.qself {
            // `<Type>::name`: the path is a name of the type.
            Some(of) => {
                self.visit_qself(of);
                if of.position > 0 {
                    self.add_path(&expression.path, Namespace::Values);
                }
            }
            None => self.add_path(&expression.path, Namespace::Values),
        }
        self.visit_arguments(&expression.path);
    }

    fn visit_type_path(&mut self, path: &'ast TypePath) {
        match &path.qself {
            Some(of) => {
                self.visit_qself(of);
                if of.position > 0 {
                    self.add_path(&path.path, Namespace::Types);
                }
                self.visit_arguments(&path.path);
            }
            None => self.visit_path(&path.path),
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        self.add_path(path, Namespace::Types);
        self.visit_arguments(path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.add_path(&call.path, Namespace::Macros);
        self.add_tokens(&call.tokens);
    }
}

/// The line, from 1, on which a span begins.
fn line_of(span: Span) -> usize {
    span.start().line
}

/// A name without the `r#` of a raw identifier.
fn plain(ident: &Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}

/// Whether a name is that of a type or a constant.
fn is_capitalized(ident: &Ident) -> bool {
    plain(ident).starts_with(char::is_uppercase)
}
