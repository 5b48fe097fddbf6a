//! Exponentials and GELU on vectors. The coefficients were fitted for this file (weighted least squares, pushed towards
//! equal ripple) on the interval that each comment names.

use super::simd::{Lane, Simd};

/// `e^x`, within 2 ulp for x from -87 to 88; 0 or a denormal below, `e^88` above. NaN comes through.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    let x = s.splat(-105.0).max(s.splat(88.0).min(x));
    let n = (x * s.splat(std::f32::consts::LOG2_E)).round();
    // ln 2 in two parts: the first has so few bits that its product with n is exact.
    let r = n.mul_add(s.splat(-0.693_359_4), x);
    let r = n.mul_add(s.splat(2.121_944_4e-4), r);
    // |r| <= ln 2 / 2.
    let p = s.splat(1.381_451e-3);
    let p = p.mul_add(r, s.splat(8.368_757e-3));
    let p = p.mul_add(r, s.splat(4.166_839_3e-2));
    let p = p.mul_add(r, s.splat(1.666_652e-1));
    let p = p.mul_add(r, s.splat(4.999_999_4e-1));
    let p = p.mul_add(r, s.splat(1.0));
    let p = p.mul_add(r, s.splat(1.0));
    p.times_power_of_two(n)
}

/// `2^x` for the weights of a softmax, where x is finite and at most about 0: relative error 3e-7, which f32 sums of
/// weights do not notice. Cheaper than [`exp`], because nothing is clamped and `x - round(x)` is exact.
#[inline(always)]
pub(crate) fn exp2_weight<S: Simd>(s: S, x: S::F) -> S::F {
    let n = x.round();
    let f = x - n;
    // |f| <= 1/2.
    let p = s.splat(1.327_645_1e-3);
    let p = p.mul_add(f, s.splat(9.675_541e-3));
    let p = p.mul_add(f, s.splat(5.550_713_5e-2));
    let p = p.mul_add(f, s.splat(2.402_212e-1));
    let p = p.mul_add(f, s.splat(6.931_469_4e-1));
    let p = p.mul_add(f, s.splat(1.000_000_1));
    p.times_power_of_two(n)
}

/// `x/2 (1 + erf(x/√2))` as `max(x, 0) - t Q(t)` with `t = |x|` and the normal tail `Q(t) = erfc(t/√2) / 2 = 2^P(t)`.
///
/// Absolute error below 5e-7 for |x| up to 8 (half an ulp of the result is 2.4e-7 there), relative error below 1.2e-6 near 0.
#[inline(always)]
pub(crate) fn gelu<S: Simd>(s: S, x: S::F) -> S::F {
    // t Q(t) is below 1e-11 from 7 on.
    let t = s.splat(7.0).min(x.abs());
    s.splat(0.0).max(x) - t * normal_tail(s, t)
}

/// `erfc(t/√2) / 2 = 2^P(t)` for t from 0 to 7: t times the error is below 5e-7, the relative error near 0 below 1.2e-6.
#[inline(always)]
pub(crate) fn normal_tail<S: Simd>(s: S, t: S::F) -> S::F {
    let p = s.splat(-1.690_469_6e-6);
    let p = p.mul_add(t, s.splat(2.508_413_9e-5));
    let p = p.mul_add(t, s.splat(-1.144_667_8e-4));
    let p = p.mul_add(t, s.splat(-3.233_315_4e-4));
    let p = p.mul_add(t, s.splat(7.333_369e-3));
    let p = p.mul_add(t, s.splat(-5.271_418_8e-2));
    let p = p.mul_add(t, s.splat(-4.591_154_5e-1));
    let p = p.mul_add(t, s.splat(-1.151_123_3));
    let p = p.mul_add(t, s.splat(-9.999_988_7e-1));
    exp2_weight(s, p)
}

pub(crate) mod tests {
    use super::{Simd, exp, exp2_weight, gelu};
    use crate::cpu::Isa;
    use crate::cpu::simd::Kernel;
    use crate::linalg::linear::reference;
    use steropes_testkit::{Case, unit_case};

    pub(crate) fn cases() -> Vec<Case> {
        vec![
            unit_case("math/unit/errors_are_as_documented", errors_are_as_documented),
            unit_case("math/unit/ends_of_the_range", ends_of_the_range),
        ]
    }

    /// The functions of this file, to apply one to a slice.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Function {
        /// [`exp`].
        Exp,
        /// [`exp2_weight`].
        Exp2Weight,
        /// [`gelu`].
        Gelu,
    }

    /// Replaces every value of a slice by a function of it.
    struct Map<'a>(Function, &'a mut [f32]);

    impl Kernel for Map<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for chunk in self.1.chunks_mut(S::LANES) {
                // SAFETY: a chunk is at most a vector, and its own length is given.
                unsafe {
                    let x = s.load_part(chunk.as_ptr(), chunk.len(), 0.0);
                    let y = match self.0 {
                        Function::Exp => exp(s, x),
                        Function::Exp2Weight => exp2_weight(s, x),
                        Function::Gelu => gelu(s, x),
                    };
                    s.store_part(chunk.as_mut_ptr(), chunk.len(), y);
                }
            }
        }
    }

    /// The largest of `error(got, want)` over `count` arguments from `low` to `high`, on every instruction set.
    fn worst(
        function: Function,
        [low, high]: [f32; 2],
        exact: impl Fn(f64) -> f64,
        error: impl Fn(f64, f64) -> f64,
    ) -> f64 {
        const COUNT: usize = 200_001;
        let xs: Vec<f32> = (0..COUNT).map(|i| low + (high - low) * (i as f32 / (COUNT - 1) as f32)).collect();
        let mut worst = 0.0f64;
        for isa in Isa::available() {
            let mut ys = xs.clone();
            isa.run(Map(function, &mut ys));
            for (&x, &y) in xs.iter().zip(&ys) {
                assert!(y.is_finite(), "{function:?}({x}) is {y} on {isa:?}");
                worst = worst.max(error(f64::from(y), exact(f64::from(x))));
            }
        }
        worst
    }

    fn ulps(got: f64, want: f64) -> f64 {
        let exponent = want.abs().log2().floor().max(-126.0);
        (got - want).abs() / (exponent - 23.0).exp2()
    }

    fn errors_are_as_documented() {
        let exp = worst(Function::Exp, [-87.0, 88.0], f64::exp, ulps);
        assert!(exp <= 2.0, "exp: {exp} ulp");
        let exp2 =
            worst(Function::Exp2Weight, [-125.0, 1.0], f64::exp2, |got, want| (got / want - 1.0).abs());
        assert!(exp2 <= 3e-7, "exp2: {exp2}");
        let exact = |x: f64| x / 2.0 * (1.0 + reference::erf(x / std::f64::consts::SQRT_2));
        let gelu = worst(Function::Gelu, [-8.0, 8.0], exact, |got, want| (got - want).abs());
        assert!(gelu <= 5e-7, "gelu: {gelu}");
        let relative = |got: f64, want: f64| if want == 0.0 { got.abs() } else { (got / want - 1.0).abs() };
        let gelu = worst(Function::Gelu, [-1e-3, 1e-3], exact, relative);
        assert!(gelu <= 1.2e-6, "gelu near 0: {gelu}");
    }

    fn ends_of_the_range() {
        for isa in Isa::available() {
            let mut xs = [f32::NEG_INFINITY, -1e30, -200.0, 0.0, 88.0, 1e30, f32::INFINITY, f32::NAN, -0.0];
            isa.run(Map(Function::Exp, &mut xs));
            assert_eq!(xs[..4], [0.0, 0.0, 0.0, 1.0], "{isa:?}");
            assert!(xs[4] > 1.6e38 && xs[5] == xs[4] && xs[6] == xs[4], "{isa:?}: {xs:?}");
            assert!(xs[7].is_nan() && xs[8] == 1.0, "{isa:?}: {xs:?}");
            let mut xs = [-1e6, -300.0, -127.0, 0.0];
            isa.run(Map(Function::Exp2Weight, &mut xs));
            assert!(xs[0] == 0.0 && xs[1] == 0.0 && xs[2] <= 6e-39, "{isa:?}: {xs:?}");
            assert!((xs[3] - 1.0).abs() <= 2e-7, "{isa:?}: {xs:?}");
            let mut xs = [f32::NEG_INFINITY, -40.0, 0.0, 40.0, 1e30, f32::NAN];
            isa.run(Map(Function::Gelu, &mut xs));
            assert!(xs[0].abs() < 1e-11 && xs[1].abs() < 1e-11 && xs[5].is_nan(), "{isa:?}: {xs:?}");
            assert_eq!(xs[2..5], [0.0, 40.0, 1e30], "{isa:?}");
        }
    }
}
