// The singular value of each column, written where it belongs in descending order: an invocation for each column.
//
// Header: WIDTH, the text of turn.wgsl.

struct Params { count: u32, shift: u32, nan: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> squares: array<f32>;
@group(0) @binding(1) var<storage, read> scales: array<f32>;
@group(0) @binding(2) var<storage, read_write> s: array<f32>;
@group(0) @binding(3) var<storage, read_write> ranks: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let column = (group.x + group.y * 32768u) * 64u + thread;
    if (column >= params.count) { return; }
    let matrix = column / WIDTH;
    let square = squares[column];
    var rank = 0u;
    for (var c = matrix * WIDTH; c < (matrix + 1u) * WIDTH; c++) {
        rank += u32(squares[c] > square || (squares[c] == square && c < column));
    }
    ranks[column] = rank;
    let scale = scales[matrix];
    var value = 0.0;
    if (square >= ZERO_SQUARE) { value = sqrt(square) * unscale_of(scale); }
    if (scale == 0.0) { value = bitcast<f32>(params.nan); }
    s[params.shift + matrix * WIDTH + rank] = value;
}
