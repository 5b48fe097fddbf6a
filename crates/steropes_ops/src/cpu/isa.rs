//! Which instruction set runs.

use super::pairs::PairUnit;
use super::plain::Plain;
use super::quads::QuadUnit;
use super::simd::Kernel;
#[cfg(target_arch = "x86_64")]
use super::tiles::Registers;
use std::cell::Cell;
use std::sync::OnceLock;

/// An instruction set that this CPU has.
///
/// A value exists only for what was detected, so a kernel that holds one may run on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa {
    kind: Kind,
    pairs: Option<PairUnit>,
    split: Option<PairUnit>,
    quads: Option<QuadUnit>,
}

/// The instruction sets by name, for kernels with forms of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Plain,
}

thread_local! {
    static ASKED: Cell<Option<Isa>> = const { Cell::new(None) };
}

/// Runs `body` with every kernel that this thread starts on `isa` instead of the best one.
///
/// For tests, so that one machine checks the forms for lesser machines too. Packed weights keep the instruction
/// set that they were packed for.
pub fn with_isa<T>(isa: Isa, body: impl FnOnce() -> T) -> T {
    struct Restore(Option<Isa>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ASKED.set(self.0);
        }
    }
    let _restore = Restore(ASKED.replace(Some(isa)));
    body()
}

impl Isa {
    /// All that this CPU has, the best first. The last is always the plain form.
    pub fn available() -> &'static [Self] {
        static FOUND: OnceLock<Vec<Isa>> = OnceLock::new();
        FOUND.get_or_init(|| {
            let only = |kind| Self { kind, pairs: None, split: None, quads: None };
            let mut found = Vec::new();
            #[cfg(target_arch = "x86_64")]
            {
                let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
                if fma && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
                    let with = |&registers| {
                        let (pairs, split) = (PairUnit::detect(registers), PairUnit::detect_split(registers));
                        Self { kind: Kind::Avx512, pairs, split, quads: QuadUnit::detect(registers) }
                    };
                    let units = Registers::ALL.iter().map(with);
                    found.extend(units.filter(|isa| isa.pairs.is_some() || isa.quads.is_some()));
                    found.push(only(Kind::Avx512));
                }
                if fma {
                    found.push(only(Kind::Avx2));
                }
            }
            #[cfg(target_arch = "aarch64")]
            if std::arch::is_aarch64_feature_detected!("neon") {
                found.push(only(Kind::Neon));
            }
            found.push(only(Kind::Plain));
            found
        })
    }

    /// What a kernel started on this thread runs on: the best, unless [`with_isa`] asks for another.
    pub fn current() -> Self {
        ASKED.get().unwrap_or_else(|| Self::available()[0])
    }

    /// Which one it is.
    pub(crate) fn kind(self) -> Kind {
        self.kind
    }

    /// What multiplies pairs of bf16, if anything does.
    pub(crate) fn pair_unit(self) -> Option<PairUnit> {
        self.pairs
    }

    /// What multiplies f32 in parts, if anything does so faster than f32 are multiplied.
    pub(crate) fn split_unit(self) -> Option<PairUnit> {
        self.split
    }

    /// What multiplies groups of four int8, if anything does.
    pub(crate) fn quad_unit(self) -> Option<QuadUnit> {
        self.quads
    }

    /// A name for reports.
    pub fn name(self) -> &'static str {
        match self.kind {
            #[cfg(target_arch = "x86_64")]
            _ if self.pairs.is_some_and(|unit| unit.tiles().registers() == Registers::Amx) => "amx",
            #[cfg(target_arch = "x86_64")]
            _ if self.pairs.is_some() => "avx512bf16",
            #[cfg(target_arch = "x86_64")]
            _ if self.quads.is_some() => "avx512vnni",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "neon",
            Kind::Plain => "plain",
        }
    }

    /// Runs `kernel`, compiled for this instruction set.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.kind {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` exists only if the CPU has it.
            Kind::Avx512 => unsafe { super::x86::run_avx512(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` exists only if the CPU has it.
            Kind::Avx2 => unsafe { super::x86::run_avx2(kernel) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: an `Isa` exists only if the CPU has it.
            Kind::Neon => unsafe { super::neon::run_neon(kernel) },
            Kind::Plain => kernel.run(Plain),
        }
    }
}

pub(crate) mod tests {
    use super::{Isa, with_isa};
    use steropes_testkit::{Case, unit_case};

    pub(crate) fn cases() -> Vec<Case> {
        vec![unit_case(
            "isa/unit/a_test_can_ask_for_each_instruction_set_and_the_best_comes_back",
            a_test_can_ask_for_each_instruction_set_and_the_best_comes_back,
        )]
    }

    fn a_test_can_ask_for_each_instruction_set_and_the_best_comes_back() {
        let best = Isa::current();
        for &isa in Isa::available() {
            assert_eq!(with_isa(isa, Isa::current), isa);
        }
        assert_eq!(Isa::current(), best);
        assert_eq!(Isa::available().last().unwrap().name(), "plain");
    }
}
