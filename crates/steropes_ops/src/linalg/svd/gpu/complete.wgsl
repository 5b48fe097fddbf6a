// One matrix for each workgroup: the long vectors of singular values that are 0, and those beyond the singular values, one after
// another. Each is what is left of the axis that the vectors before it contain least of, taken off twice because of rounding.
//
// Header: LENGTH, WIDTH, COUNT (long vectors), TRANSPOSED (they are rows), THREADS with sum_of, largest_of and first_of.

struct Params { count: u32, s_shift: u32, shift: u32, nan: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> s: array<u32>;
@group(0) @binding(1) var<storage, read> scales: array<f32>;
@group(0) @binding(2) var<storage, read_write> vectors: array<f32>;
@group(0) @binding(3) var<storage, read_write> shares: array<f32>;

fn place(matrix: u32, r: u32, c: u32) -> u32 {
    return params.shift + matrix * (LENGTH * COUNT) + select(r * COUNT + c, c * LENGTH + r, TRANSPOSED);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = group.x + group.y * 32768u;
    if (matrix >= params.count) { return; }
    let broken = scales[matrix] == 0.0;
    for (var c = 0u; c < COUNT; c++) {
        if (c < WIDTH) {
            if (s[params.s_shift + matrix * WIDTH + c] != 0u) { continue; }
        }
        if (broken) {
            for (var r = thread; r < LENGTH; r += THREADS) { vectors[place(matrix, r, c)] = bitcast<f32>(params.nan); }
            continue;
        }
        // The axis.
        var least = 2.0;
        var own = 0u;
        for (var r = thread; r < LENGTH; r += THREADS) {
            var contained = 0.0;
            for (var k = 0u; k < c; k++) {
                let x = vectors[place(matrix, r, k)];
                contained = fma(x, x, contained);
            }
            if (contained < least) {
                least = contained;
                own = r;
            }
        }
        let best = -largest_of(-least, thread);
        let axis = first_of(select(LENGTH - 1u, own, least == best), thread);
        // What is left of it, row by row.
        for (var r = thread; r < LENGTH; r += THREADS) {
            var x = select(0.0, 1.0, r == axis);
            for (var k = 0u; k < c; k++) { x = fma(-vectors[place(matrix, r, k)], vectors[place(matrix, axis, k)], x); }
            vectors[place(matrix, r, c)] = x;
        }
        storageBarrier();
        workgroupBarrier();
        // What it still contains of each vector.
        for (var k = thread; k < c; k += THREADS) {
            var share = 0.0;
            for (var r = 0u; r < LENGTH; r++) {
                share = fma(vectors[place(matrix, r, k)], vectors[place(matrix, r, c)], share);
            }
            shares[matrix * LENGTH + k] = share;
        }
        storageBarrier();
        workgroupBarrier();
        var square = 0.0;
        var largest = 0.0;
        for (var r = thread; r < LENGTH; r += THREADS) {
            var x = vectors[place(matrix, r, c)];
            for (var k = 0u; k < c; k++) { x = fma(-vectors[place(matrix, r, k)], shares[matrix * LENGTH + k], x); }
            vectors[place(matrix, r, c)] = x;
            square = fma(x, x, square);
            largest = max(largest, abs(x));
        }
        let length = sqrt(sum_of(square, thread));
        let equal = 0.999 * largest_of(largest, thread);
        var first = LENGTH - 1u;
        for (var r = thread; r < LENGTH; r += THREADS) {
            if (abs(vectors[place(matrix, r, c)]) >= equal) { first = min(first, r); }
        }
        storageBarrier();
        let decides = vectors[place(matrix, first_of(first, thread), c)];
        let factor = select(1.0, -1.0, decides < 0.0) / length;
        workgroupBarrier();
        for (var r = thread; r < LENGTH; r += THREADS) { vectors[place(matrix, r, c)] *= factor; }
        storageBarrier();
        workgroupBarrier();
    }
}
