"""The thresholds that figures are judged by, each stated once; torch is not imported here."""

COLLAPSED_RATE = 0.01  # nats: a component whose mean rate is lower has collapsed
ACTIVE_VARIANCE = 0.01  # a component is active where Var_x(E_q[z]) is higher (Burda et al., 2015)
UNRELIABLE_K_HAT = 0.7  # importance weights with a larger k-hat mean little (Vehtari et al., 2015)
MIXED_R_HAT = 1.05  # chains with a larger R-hat have not mixed
MISSED_NATS = 0.5  # an importance bound that misses more is worth a warning
UNIDENTIFIED_ROOM = 0.5  # nats: mutual information this near to log N is a lower bound only
ALIKE_VARIANCE = 0.3  # of the data's: reconstructions that vary less are alike
WORSE_DISTANCE = 3.0  # times the reconstructions' distance: samples farther away are bad
SMALL_DISTANCE = 0.1  # of the data's spread in the features: a smaller distance is no reason
