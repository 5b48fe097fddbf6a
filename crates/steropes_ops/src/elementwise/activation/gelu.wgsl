// The normal tail Q(t) = erfc(t/√2) / 2 = 2^P(t) of t = |x|, P fitted for this project; t Q(t) is below 1e-11 from 7 on.
fn normal_tail(t: Quad) -> Quad {
    var p = fma(Quad(-1.6904696e-6), t, Quad(2.5084139e-5));
    p = fma(p, t, Quad(-1.1446678e-4));
    p = fma(p, t, Quad(-3.2333154e-4));
    p = fma(p, t, Quad(7.333369e-3));
    p = fma(p, t, Quad(-5.2714188e-2));
    p = fma(p, t, Quad(-4.5911545e-1));
    p = fma(p, t, Quad(-1.1511233));
    p = fma(p, t, Quad(-9.9999887e-1));
    return exp2(p);
}
fn activated(x: Quad) -> Quad {
    let t = min(abs(x), Quad(7.0));
    // A factor instead of a choice: compilers make max(x, 0) of that, which drops what is not a number.
    return x * select(Quad(1.0), Quad(0.0), x < Quad(0.0)) - t * normal_tail(t);
}
// The normal distribution, and x times its density.
fn slope(x: Quad) -> Quad {
    let tail = normal_tail(min(abs(x), Quad(7.0)));
    let t = min(abs(x), Quad(20.0));
    let density = exp(t * t * -0.5) * 0.3989423;
    return fma(x, density, select(1.0 - tail, tail, x < Quad(0.0)));
}
