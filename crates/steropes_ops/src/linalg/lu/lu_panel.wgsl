// One workgroup for the panel of each matrix: `width` columns from `first` on, from the diagonal down, in place. An invocation
// has every 256th row; while it takes a column off the rest of its rows, it looks for its largest element of the next.

struct Params { count: u32, m: u32, n: u32, steps: u32, first: u32, width: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> lu: array<f32>;
@group(0) @binding(1) var<storage, read_write> pivots: array<i32>;
@group(0) @binding(2) var<storage, read_write> info: array<i32>;

const THREADS: u32 = 256u;
const WIDTH: u32 = 32u;
var<workgroup> magnitudes: array<u32, THREADS>;
var<workgroup> rows: array<u32, THREADS>;
var<workgroup> pivot_row: array<f32, WIDTH>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = group.x + group.y * 32768u;
    if (matrix >= params.count) {
        return;
    }
    let start = matrix * params.m * params.n + params.first * params.n + params.first;
    let height = params.m - params.first;
    // Magnitudes are compared as integers, where what is not a number is the largest.
    var largest = 0u;
    var chosen = 0xffffffffu;
    for (var i = thread; i < height; i += THREADS) {
        let found = bitcast<u32>(lu[start + i * params.n]) & 0x7fffffffu;
        if (chosen == 0xffffffffu || found > largest) {
            largest = found;
            chosen = i;
        }
    }
    var zero = 0i;
    for (var k = 0u; k < params.width; k++) {
        magnitudes[thread] = largest;
        rows[thread] = chosen;
        for (var step = THREADS / 2u; step > 0u; step /= 2u) {
            workgroupBarrier();
            if (thread < step) {
                let found = magnitudes[thread + step];
                let row = rows[thread + step];
                // Of equals the first; invocations without rows have none.
                if (found > magnitudes[thread] || (found == magnitudes[thread] && row < rows[thread])) {
                    magnitudes[thread] = found;
                    rows[thread] = row;
                }
            }
        }
        storageBarrier();
        workgroupBarrier();
        let best = magnitudes[0];
        let other = rows[0];
        if (best == 0u && zero == 0) {
            zero = i32(params.first + k) + 1;
        }
        if (thread < params.width) {
            let value = lu[start + other * params.n + thread];
            if (other != k) {
                lu[start + other * params.n + thread] = lu[start + k * params.n + thread];
                lu[start + k * params.n + thread] = value;
            }
            pivot_row[thread] = value;
        }
        if (thread == 0u) {
            pivots[matrix * params.steps + params.first + k] = i32(params.first + other) + 1;
        }
        storageBarrier();
        workgroupBarrier();
        let divisor = select(pivot_row[k], 1.0, best == 0u);
        largest = 0u;
        chosen = 0xffffffffu;
        for (var i = thread; i < height; i += THREADS) {
            if (i > k) {
                let row = start + i * params.n;
                let factor = lu[row + k] / divisor;
                lu[row + k] = factor;
                for (var j = k + 1u; j < params.width; j++) {
                    let value = lu[row + j] - factor * pivot_row[j];
                    lu[row + j] = value;
                    if (j == k + 1u) {
                        let found = bitcast<u32>(value) & 0x7fffffffu;
                        if (chosen == 0xffffffffu || found > largest) {
                            largest = found;
                            chosen = i;
                        }
                    }
                }
            }
        }
    }
    if (thread == 0u) {
        if (params.first == 0u || info[matrix] == 0) {
            info[matrix] = zero;
        }
    }
}
