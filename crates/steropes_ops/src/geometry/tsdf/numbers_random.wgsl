// Three words from three words (Jarzynski and Olano 2020).
fn pcg3d(word: vec3<u32>) -> vec3<u32> {
    var v = word * 1664525u + 1013904223u;
    v.x += v.y * v.z;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v ^= v >> vec3<u32>(16u);
    v.x += v.y * v.z;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    return v;
}

// Roughly standard normal: a sum of twelve uniform numbers of 16 bits, exact in f32 and so the same on every device.
// `i` counts the pixels of the launch, the hash those of all maps.
fn number(i: u32, sample: u32) -> f32 {
    let first = pcg3d(vec3<u32>(params.start + params.first + i, sample, params.seed));
    let second = pcg3d(first);
    let halves = (first & vec3<u32>(0xffffu)) + (first >> vec3<u32>(16u)) + (second & vec3<u32>(0xffffu))
        + (second >> vec3<u32>(16u));
    let sum = i32(halves.x + halves.y + halves.z);
    return f32(sum - 6 * 65535) / 65536.0;
}

