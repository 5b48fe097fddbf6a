// In integers, because interfaces leave the rounding of conversions to the device.
fn converted(bits: From) -> To {
    let sign = (bits >> vec4<u32>(16u)) & vec4<u32>(0x8000u);
    let size = bits & vec4<u32>(0x7fffffffu);
    // Normal f16: the exponent moves by 112, 13 bits are rounded away, ties to even; the carry may reach the exponent and
    // make 65520 and more infinite.
    let odd = (size >> vec4<u32>(13u)) & vec4<u32>(1u);
    let rounded = (size + vec4<u32>(0xfffu) + odd) >> vec4<u32>(13u);
    let normal = min(rounded - vec4<u32>(112u << 10u), vec4<u32>(0x7c00u));
    // Below 2^-14: multiples of 2^-24, by a shift of the whole significand.
    let shift = min(vec4<u32>(126u) - min(size >> vec4<u32>(23u), vec4<u32>(126u)), vec4<u32>(31u));
    let significand = (size & vec4<u32>(0x7fffffu)) | vec4<u32>(0x800000u);
    let last = (significand >> shift) & vec4<u32>(1u);
    let half = (vec4<u32>(1u) << max(shift, vec4<u32>(1u))) >> vec4<u32>(1u);
    let small = (significand + half - vec4<u32>(1u) + last) >> shift;
    var h = select(normal, small, size < vec4<u32>(0x38800000u));
    h = select(h, vec4<u32>(0x7e00u), size > vec4<u32>(0x7f800000u)) | sign;
    return vec2<u32>(h.x | (h.y << 16u), h.z | (h.w << 16u));
}
