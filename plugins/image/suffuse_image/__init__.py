"""Images for suffuse: data sources, backbones, the pixel decoder and metrics."""
