// How often each digit occurs in a block of keys. An invocation counts its own keys in registers of workgroup memory; then one
// invocation for each digit adds them up.
//
// Header: THREADS, EACH, DIGITS.

struct Params { count: u32, bit: u32, blocks: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> keys: array<u32>;
@group(0) @binding(1) var<storage, read_write> counts: array<u32>;

var<workgroup> own: array<u32, DIGITS * THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let block = group.x + group.y * 32768u;
    for (var d = 0u; d < DIGITS; d++) {
        own[d * THREADS + thread] = 0u;
    }
    for (var i = 0u; i < EACH; i++) {
        let at = (block * THREADS + thread) * EACH + i;
        if (at < params.count) {
            own[((keys[at] >> params.bit) % DIGITS) * THREADS + thread] += 1u;
        }
    }
    workgroupBarrier();
    if (thread < DIGITS && block < params.blocks) {
        var sum = 0u;
        for (var t = 0u; t < THREADS; t++) {
            sum += own[thread * THREADS + t];
        }
        counts[thread * params.blocks + block] = sum;
    }
}
