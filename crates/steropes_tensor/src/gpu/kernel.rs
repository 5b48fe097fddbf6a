//! A kernel: WGSL text behind a generated header.

use rustc_hash::{FxBuildHasher, FxHashMap};
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, Hash, Hasher};
use std::sync::{Arc, Mutex};

/// A WGSL kernel in one specialisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    name: &'static str,
    text: KernelText,
}

/// The text of a kernel with its hash, so that a launch finds the compiled kernel without reading tens of kilobytes again.
#[derive(Clone, Debug, Eq)]
pub struct KernelText {
    text: Arc<str>,
    hash: u64,
}

impl KernelText {
    /// The text of a kernel.
    pub fn new(text: String) -> Self {
        Self { hash: FxBuildHasher.hash_one(&text), text: text.into() }
    }

    /// The text itself.
    pub fn shared(&self) -> &Arc<str> {
        &self.text
    }
}

impl PartialEq for KernelText {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.text, &other.text) || (self.hash == other.hash && self.text == other.text)
    }
}

impl Hash for KernelText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Kernel {
    /// The kernel `name` whose text is `body` behind `header`. The entry point is `main`; arrays are the bindings of
    /// group 0, numbered from 0 without a gap and all used; small numbers come as one `var<immediate>`.
    pub fn new(name: &'static str, header: &Header, body: &str) -> Self {
        Self { name, text: KernelText::new(format!("{}{}{body}", header.enables, header.lines)) }
    }

    /// The name, that of its op.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text.text
    }

    pub(super) fn shared_text(&self) -> &KernelText {
        &self.text
    }
}

/// Kernels that were put together before, by what they depend on: text for register tiles takes longer to write than a small
/// kernel to run.
pub struct KernelCache<K> {
    kernels: Mutex<FxHashMap<K, Kernel>>,
}

impl<K: Eq + Hash> KernelCache<K> {
    /// An empty cache.
    pub const fn new() -> Self {
        Self { kernels: Mutex::new(FxHashMap::with_hasher(FxBuildHasher)) }
    }

    /// The kernel of `key`, which must hold all that `make` looks at.
    pub fn get(&self, key: K, make: impl FnOnce() -> Kernel) -> Kernel {
        let mut kernels = self.kernels.lock().expect("no panic while it is held");
        kernels.entry(key).or_insert_with(make).clone()
    }
}

impl<K: Eq + Hash> Default for KernelCache<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// What stands before the body of a kernel: extensions, aliases and constants that make one text serve every
/// element type and tile size.
#[derive(Clone, Debug, Default)]
pub struct Header {
    enables: String,
    lines: String,
}

impl Header {
    /// An empty header.
    pub fn new() -> Self {
        Self::default()
    }

    /// `enable extension;`
    #[must_use]
    pub fn enable(mut self, extension: &str) -> Self {
        writeln!(self.enables, "enable {extension};").expect("writing to a string");
        self
    }

    /// `alias name = wgsl_type;`
    #[must_use]
    pub fn alias(mut self, name: &str, wgsl_type: &str) -> Self {
        writeln!(self.lines, "alias {name} = {wgsl_type};").expect("writing to a string");
        self
    }

    /// `const name: u32 = value;`
    #[must_use]
    pub fn count(mut self, name: &str, value: u32) -> Self {
        writeln!(self.lines, "const {name}: u32 = {value}u;").expect("writing to a string");
        self
    }

    /// `const name: f32 = value;`
    #[must_use]
    pub fn number(mut self, name: &str, value: f32) -> Self {
        writeln!(self.lines, "const {name}: f32 = {value:e}f;").expect("writing to a string");
        self
    }

    /// `const name: bool = value;`
    #[must_use]
    pub fn flag(mut self, name: &str, value: bool) -> Self {
        writeln!(self.lines, "const {name}: bool = {value};").expect("writing to a string");
        self
    }

    /// Text as it is, for functions that several kernels share.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.lines.push_str(text);
        self
    }

    /// The element type of a tensor under the name `Elem`, and `Elem4` for four of them; enables f16 where needed.
    ///
    /// # Panics
    /// If `dtype` is neither f32 nor f16; ops check that before.
    #[must_use]
    pub fn element(self, dtype: crate::DType) -> Self {
        match dtype {
            crate::DType::F32 => self.alias("Elem", "f32").alias("Elem4", "vec4<f32>"),
            crate::DType::F16 => self.enable("f16").alias("Elem", "f16").alias("Elem4", "vec4<f16>"),
            other => unreachable!("kernels compute in f32 or f16, not {other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_come_first() {
        let header = Header::new().count("TILE", 64).element(crate::DType::F16).number("EPS", 1e-6);
        let kernel = Kernel::new("k", &header, "fn f() {}");
        assert_eq!(
            kernel.text(),
            "enable f16;\nconst TILE: u32 = 64u;\nalias Elem = f16;\nalias Elem4 = vec4<f16>;\nconst EPS: f32 = 1e-6f;\nfn f() {}"
        );
    }
}
