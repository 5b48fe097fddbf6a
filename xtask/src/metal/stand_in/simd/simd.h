// Kernels include this header and use nothing of it.
#pragma once
