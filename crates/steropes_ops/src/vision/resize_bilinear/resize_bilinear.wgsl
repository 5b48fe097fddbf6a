// One pack of channels of one pixel for each invocation, counted through the rows of all images. The four packs that it reads
// are shared with its neighbours through the caches.
//
// Header: Pack, Quads, QUADS, unpacked, packed; THREADS, CHANNELS (packs of a pixel).

// Rows of the result from `row` on, which read rows of `x` from `source` on.
struct Params {
    count: u32,
    row: u32,
    source: u32,
    height: u32,
    width: u32,
    out_height: u32,
    out_width: u32,
    x_shift: u32,
    y_shift: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<Pack>;
@group(0) @binding(1) var<storage, read_write> y: array<Pack>;

struct Tap { first: u32, second: u32, weight: f32 }

// Exact in integers, so that samples which coincide get weight 0.
fn tap(i: u32, n_in: u32, n_out: u32) -> Tap {
    let steps = max(n_out, 2u) - 1u;
    let place = i * (n_in - 1u);
    let whole = place / steps;
    return Tap(whole, min(whole + 1u, n_in - 1u), f32(place - whole * steps) / f32(steps));
}

// a + weight (b - a): exactly a where both are equal or the weight is 0.
fn mix_quads(a: Quads, b: Quads, weight: f32) -> Quads {
    var mixed = a;
    for (var q = 0u; q < QUADS; q++) {
        mixed[q] += weight * (b[q] - a[q]);
    }
    return mixed;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i >= params.count) {
        return;
    }
    let channel = i % CHANNELS;
    let pixel = i / CHANNELS;
    let row = params.row + pixel / params.out_width;
    let image = params.x_shift + row / params.out_height * params.height * params.width * CHANNELS;
    let vertical = tap(row % params.out_height, params.height, params.out_height);
    let horizontal = tap(pixel % params.out_width, params.width, params.out_width);
    // Rows are counted from the first row of the window; the wrapped differences come right in the sum.
    let above = image + (vertical.first - params.source) * params.width * CHANNELS + channel;
    let below = image + (vertical.second - params.source) * params.width * CHANNELS + channel;
    let left = horizontal.first * CHANNELS;
    let right = horizontal.second * CHANNELS;
    let left_mixed = mix_quads(unpacked(x[above + left]), unpacked(x[below + left]), vertical.weight);
    let right_mixed = mix_quads(unpacked(x[above + right]), unpacked(x[below + right]), vertical.weight);
    y[params.y_shift + i] = packed(mix_quads(left_mixed, right_mixed, horizontal.weight));
}
