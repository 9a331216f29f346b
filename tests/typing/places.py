"""What a number means is part of its type: each marked line must stay an error."""

from micrographia.ids import Head, Layer, NeuronIndex, Position, TokenId


def wants_layer(layer: Layer) -> int:
    return layer


def wants_position(position: Position) -> int:
    return position


def wants_token(token: TokenId) -> int:
    return token


wants_layer(3)  # pyright: ignore[reportArgumentType]
wants_layer(Position(3))  # pyright: ignore[reportArgumentType]
wants_layer(Head(3))  # pyright: ignore[reportArgumentType]
wants_position(Layer(3))  # pyright: ignore[reportArgumentType]
wants_token(NeuronIndex(3))  # pyright: ignore[reportArgumentType]
wants_layer(Layer(3) + 1)  # pyright: ignore[reportArgumentType]

# and these must stay right
wants_layer(Layer(3))
wants_position(Position(3))
wants_token(TokenId(3))
