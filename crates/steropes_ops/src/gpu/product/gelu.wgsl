// x/2 (1 + erf(x/√2)) as max(x, 0) - t Q(t) with t = |x| and the normal tail Q(t) = 2^P(t); t Q(t) is below 1e-11 from 7 on.
fn gelu(x: vec4<f32>) -> vec4<f32> {
    let t = min(abs(x), vec4<f32>(7.0));
    var p = vec4<f32>(-1.6904696e-6);
    p = fma(p, t, vec4<f32>(2.5084139e-5));
    p = fma(p, t, vec4<f32>(-1.1446678e-4));
    p = fma(p, t, vec4<f32>(-3.2333154e-4));
    p = fma(p, t, vec4<f32>(7.333369e-3));
    p = fma(p, t, vec4<f32>(-5.2714188e-2));
    p = fma(p, t, vec4<f32>(-4.5911545e-1));
    p = fma(p, t, vec4<f32>(-1.1511233));
    p = fma(p, t, vec4<f32>(-9.9999887e-1));
    return relu(x) - t * exp2(p);
}
