"""Methods that heal in the latent of an autoencoder, one file each, and these autoencoders: of codes, of bits."""
