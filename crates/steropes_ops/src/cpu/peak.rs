//! What the machine can do at most.

use super::isa::Isa;
use super::simd::{Kernel, Simd};
use rayon::prelude::*;
use std::time::Instant;

/// The limits of this machine, measured just now.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// The instruction set that was measured.
    pub isa: Isa,
    /// Threads that the kernels use.
    pub threads: usize,
    /// f32 multiply-adds on registers alone, one thread, in 10^9 floating-point operations per second.
    pub gflops_one_thread: f64,
    /// The same on all threads at once.
    pub gflops_all_threads: f64,
    /// A large copy on all threads, in 10^9 bytes read and written per second.
    pub copy_gbytes_per_second: f64,
}

/// Repetitions; the best counts, because other programs can only slow a run down.
const RUNS: usize = 50;
/// Steps of a run: a few milliseconds on a current core, short enough to fit between two interruptions.
const STEPS: usize = 1 << 19;
/// f32 values copied, 64 MB: more than a cache holds.
const COPIED: usize = 1 << 24;

/// Measures the limits of this machine on all of rayon's threads. Takes about half a second.
pub fn peak() -> Peak {
    let isa = Isa::current();
    Peak {
        isa,
        threads: rayon::current_num_threads(),
        gflops_one_thread: fastest(|| isa.run(MultiplyAdds)) / 1e9,
        gflops_all_threads: fastest(|| rayon::broadcast(|_| isa.run(MultiplyAdds)).into_iter().sum()) / 1e9,
        copy_gbytes_per_second: copy_rate() / 1e9,
    }
}

/// The highest rate (work per second) of several runs.
fn fastest(mut work: impl FnMut() -> f64) -> f64 {
    let mut best = 0.0f64;
    for _ in 0..RUNS {
        let start = Instant::now();
        let done = work();
        best = best.max(done / start.elapsed().as_secs_f64());
    }
    best
}

/// Register-only multiply-adds; returns how many floating-point operations.
struct MultiplyAdds;

impl Kernel for MultiplyAdds {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let (operations, sum) = s.multiply_adds(STEPS);
        std::hint::black_box(sum);
        operations
    }
}

fn copy_rate() -> f64 {
    let from = vec![1.0f32; COPIED];
    let mut to = vec![0.0f32; COPIED];
    fastest(|| {
        to.par_chunks_mut(1 << 18)
            .zip(from.par_chunks(1 << 18))
            .for_each(|(to, from)| to.copy_from_slice(from));
        std::hint::black_box(&mut to);
        (2 * size_of_val(&from[..])) as f64
    })
}

pub(crate) mod tests {
    use super::peak;
    use steropes_testkit::{Case, unit_case};

    pub(crate) fn cases() -> Vec<Case> {
        vec![unit_case("peak/unit/the_limits_are_plausible", the_limits_are_plausible)]
    }

    fn the_limits_are_plausible() {
        let peak = peak();
        // A multiply-add unit of 128 bits at 100 MHz is the least; 16 vectors of 512 bits at 10 GHz the most.
        assert!((0.8..6000.0).contains(&peak.gflops_one_thread), "{peak:?}");
        assert!(peak.gflops_all_threads <= 6000.0 * peak.threads as f64, "{peak:?}");
        assert!(peak.copy_gbytes_per_second > 0.05, "{peak:?}");
    }
}
