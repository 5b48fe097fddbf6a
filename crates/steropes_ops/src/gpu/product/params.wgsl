struct Params {
    // Rows and columns of this launch; the columns begin at `first` of all `columns`.
    rows: u32,
    some: u32,
    first: u32,
    columns: u32,
    // Columns of the left rows, and those of the weights with the zeros behind them.
    depth: u32,
    padded: u32,
    // Elements of the bindings before the first one meant.
    x_shift: u32,
    y_shift: u32,
    // Patches: the image, the result in pixels, the kernel; rows of pixels before the binding of x and before row 0.
    height: u32,
    width: u32,
    channels: u32,
    out_height: u32,
    out_width: u32,
    stride: u32,
    padding: u32,
    segment: u32,
    across: u32,
    top: u32,
    out_top: u32,
    // Blocks: pixels in a row of x, and elements in a row of a block.
    block_columns: u32,
    run: u32,
}
var<immediate> params: Params;
