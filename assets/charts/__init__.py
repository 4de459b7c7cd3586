"""Charts as SVG or PNG, rendered in this process and offline; `style` is how all of them look."""
