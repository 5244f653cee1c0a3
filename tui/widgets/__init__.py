"""The widgets of the workbench: plot, slider, sparkline, meter, bars, stream; `reduce` is their arithmetic."""
