// One row for each ROW_THREADS invocations, read twice: for the sum of its exponentials, and for the gradient.
//
// Header: as cross_entropy.wgsl, but scale_of(row) in place of Loss and stored.

struct Params {
    rows: u32, shift: u32, target_shift: u32, ignore_low: u32, ignore_high: u32, smoothing: f32, scale_shift: u32, nan: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<Pack>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<Pack>;
@group(0) @binding(3) var<storage, read> grad: array<f32>;

// Where the one value of a target lies in a quad: 1 there, 0 elsewhere.
fn indicator(first: u32, place: u32) -> Quad {
    var quad = Quad();
    for (var i = 0u; i < LANES / QUADS; i++) {
        if (first + i == place) {
            quad += unit_of(i);
        }
    }
    return quad;
}

@compute @workgroup_size(ROW_THREADS * ROWS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = (group.x + group.y * 32768u) * ROWS + thread / ROW_THREADS;
    let lane = thread % ROW_THREADS;
    let inside = row < params.rows;
    // Rows behind the end compute along with the last row, because all invocations meet in row_max and row_sum.
    let own_row = min(row, params.rows - 1u);
    let first = params.shift + own_row * WIDTH;
    var part = RowPart(LOWEST, 0.0, 0.0);
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = lane + i * ROW_THREADS;
        if (FULL || c < WIDTH) {
            part = met(part, unpacked(x[first + c]));
        }
    }
    let largest = row_max(part.largest, thread);
    let exponentials = row_sum(part.exponentials * exp(part.largest - largest), thread);
    let target_class = targets_at(params.target_shift / TARGET_WORDS + own_row);
    let ignored = target_class.x == params.ignore_low && target_class.y == params.ignore_high;
    let known = targets_is_below(target_class, COUNT);
    let scale = select(scale_of(own_row), bitcast<f32>(params.nan), !known);
    let factor = scale / exponentials;
    let even = scale * params.smoothing / f32(COUNT);
    let own = scale * (1.0 - params.smoothing);
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = lane + i * ROW_THREADS;
        if (inside && (FULL || c < WIDTH)) {
            var values = unpacked(x[first + c]);
            for (var q = 0u; q < QUADS; q++) {
                let hit = indicator(c * LANES + q * (LANES / QUADS), target_class.x);
                let gradient = exp(values[q] - Quad(largest)) * factor - Quad(even) - hit * own;
                values[q] = select(gradient, Quad(), ignored);
            }
            y[first + c] = packed(values);
        }
    }
}
