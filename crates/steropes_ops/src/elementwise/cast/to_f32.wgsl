// In integers, because interfaces let devices take numbers below 2^-14 as 0.
fn converted(bits: From) -> To {
    let h = vec4<u32>(bits.x & 0xffffu, bits.x >> 16u, bits.y & 0xffffu, bits.y >> 16u);
    let sign = (h & vec4<u32>(0x8000u)) << vec4<u32>(16u);
    let size = h & vec4<u32>(0x7fffu);
    let normal = (size << vec4<u32>(13u)) + vec4<u32>(112u << 23u);
    let special = (size << vec4<u32>(13u)) | vec4<u32>(0x7f800000u);
    let small = bitcast<vec4<u32>>(vec4<f32>(size) * 5.9604644775390625e-8);
    var f = select(normal, special, size >= vec4<u32>(0x7c00u));
    f = select(f, small, size < vec4<u32>(0x400u));
    return f | sign;
}
